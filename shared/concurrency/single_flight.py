"""One call at a time of something costly, whose result is shared by concurrent requests."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

CHECKS_AT_ONCE = 5
CHECKS_PER_SECOND = 1.0
ALONE_AFTER_SECONDS = 0.02
# For its result: load balancers give up on a probe after a few seconds.
READY_TIMEOUT_SECONDS = 2.0


class SingleFlight(Generic[T]):
    """Bounds the work that unauthenticated requests can cause.

    Requests during a call get its result, or its error. So do later ones, once `burst` calls were
    made and until the next is due: rare requests always get a fresh result.

    Args:
        call: makes a result.
        burst: calls that may follow one another at once.
        per_second: calls in the long run.
        alone_after_seconds: a request after this long without another one gets a fresh result;
            never by default.
    """

    def __init__(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        burst: int,
        per_second: float,
        alone_after_seconds: float = math.inf,
    ) -> None:
        self._call = call
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._alone_after_seconds = alone_after_seconds
        self._asked_at = self._counted_at = time.monotonic()
        self._flight: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """The result of a shared call; raises what that call raised."""
        now = time.monotonic()
        is_alone = now - self._asked_at >= self._alone_after_seconds
        self._asked_at = now
        if self._flight is None or (self._flight.done() and self._may_call(now, is_alone)):
            self._left = max(self._left - 1, 0)
            self._flight = asyncio.ensure_future(self._call())
        # Shielded: a request that is cancelled does not cancel the others.
        return await asyncio.shield(self._flight)

    def _may_call(self, now: float, is_alone: bool) -> bool:
        grown = (now - self._counted_at) * self._per_second
        self._left = min(self._left + grown, self._burst)
        self._counted_at = now
        return is_alone or self._left >= 1


def probe_of(check: Callable[[], Awaitable[T]]) -> SingleFlight[T]:
    """A database check for `/readyz`: one a second, however many requests there are.

    A single probe gets a fresh result; clients at exactly that pace cause fifty checks a second, of
    less than a millisecond each.
    """
    return SingleFlight(
        check,
        burst=CHECKS_AT_ONCE,
        per_second=CHECKS_PER_SECOND,
        alone_after_seconds=ALONE_AFTER_SECONDS,
    )
