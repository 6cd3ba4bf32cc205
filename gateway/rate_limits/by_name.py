"""Limits of requests that are rarer than purchases: one bucket for each name."""

from collections.abc import Mapping

from gateway.rate_limits.limiter import RateLimiter
from gateway.rate_limits.token_bucket import Rate
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings

# Draws that may wait: with Redis silent, one takes half a second and the next ones nothing.
WAITING_MAX = 1_000


class NamedLimit:
    """One bucket for each name, drawn from in a thread.

    Args:
        policy: the limit's name in the `RateLimit` headers.
        rate: of each bucket.
        settings: where Redis is.
    """

    def __init__(self, policy: str, rate: Rate, settings: Settings) -> None:
        self._rate = rate
        self._limiter = RateLimiter(policy, rate, settings)
        self._threads = BoundedExecutor(policy, threads=1, waiting_max=WAITING_MAX)

    def raise_if_known_empty(self, name: str) -> None:
        """Takes no token.

        Raises:
            TooManyRequests: the bucket is known to be empty.
        """
        if not self._rate.is_unlimited:
            self._limiter.raise_if_known_empty(name)

    async def draw(self, name: str) -> Mapping[str, str]:
        """Take a token; returns the `RateLimit` headers.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        if self._rate.is_unlimited:
            return {}
        self._limiter.raise_if_known_empty(name)
        (drawn,) = await self._threads.run_for(name, self._limiter.draw, [name])
        return self._limiter.settle(drawn)

    def close(self) -> None:
        self._threads.close()
        self._limiter.close()
