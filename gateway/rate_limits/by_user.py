"""Rate limits of users."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice

from gateway.batcher import Batcher
from gateway.rate_limits.limiter import RateLimiter
from gateway.rate_limits.token_bucket import Draw, Rate
from shared.config.settings import Settings

# Draws in one call to Redis: a millisecond of its time.
DRAWN_ROWS = 200
# Users in memory at most; the least recently seen are dropped: about 10 MB.
REMEMBERED_ROWS = 50_000


class UserLimit:
    """One bucket for each user.

    In an on-sale most users send one request. So the first request in the time that a bucket takes
    to fill is allowed without Redis; its token is drawn with the second. So each user has one more
    request at each gateway.
    """

    def __init__(
        self, settings: Settings, policy: str = "purchases", rate: Rate | None = None
    ) -> None:
        self._rate = rate or Rate(settings.purchase_rate_burst, settings.purchase_rate_per_second)
        self._limiter = RateLimiter(policy, self._rate, settings)
        self._drawing: Batcher[str, Draw] = Batcher(
            "rate-limit",
            self._limiter.draw,
            batch_rows=DRAWN_ROWS,
            threads=1,
            pending_max_rows=settings.accept_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )
        # Of most responses.
        self._first_headers = (
            {} if self._rate.is_unlimited else self._limiter.headers(Draw(self._rate.burst - 1))
        )
        # When a user was last seen, and whether all that came until then was drawn for.
        self._seen: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def raise_if_known_empty(self, user: int | str) -> None:
        """Takes no token.

        Raises:
            TooManyRequests: the bucket is known to be empty.
        """
        if not self._rate.is_unlimited:
            self._limiter.raise_if_known_empty(str(user))

    async def draw(self, user: int | str) -> Mapping[str, str]:
        """Take a token; returns the `RateLimit` headers.

        Args:
            user: an id, or another name of a bucket.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        if self._rate.is_unlimited:
            return {}
        bucket = str(user)
        self._limiter.raise_if_known_empty(bucket)
        owed = self._owed(bucket)
        if not owed:
            return self._first_headers
        *_, drawn = await asyncio.gather(*(self._drawing.submit(bucket) for _ in range(owed)))
        return self._limiter.settle(drawn)

    async def close(self) -> None:
        await self._drawing.close()
        self._limiter.close()

    def _owed(self, bucket: str) -> int:
        """Tokens to draw for a request now: none if it is the first in a while."""
        now = time.monotonic()
        seen_at, is_drawn = self._seen.pop(bucket, (float("-inf"), True))
        is_first = now - seen_at > self._rate.span_seconds
        self._seen[bucket] = (now, not is_first)
        # One seen so long ago is as good as new. Two for each that comes: they go faster than they
        # come.
        for oldest, (seen_at, _) in list(islice(self._seen.items(), 2)):
            if now - seen_at > self._rate.span_seconds or len(self._seen) > REMEMBERED_ROWS:
                del self._seen[oldest]
        if is_first:
            return 0
        return 1 if is_drawn else 2
