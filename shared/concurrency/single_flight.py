"""One call at a time of something costly, whose result is shared by all who ask."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

LOOKS_AT_ONCE = 5
LOOKS_PER_SECOND = 1.0
ALONE_AFTER_SECONDS = 0.02
# For its result: load balancers give up on a probe after a few seconds.
READY_TIMEOUT_SECONDS = 2.0


class SingleFlight(Generic[T]):
    """Bounds what a stranger can make us do over and over by asking for it.

    Requests that come while a call is under way get its result, also its failure. So do those that
    come later, once `burst` calls were made and until the next is due: who asks rarely always gets
    a fresh result.

    Args:
        call: makes a result.
        burst: calls that may follow one another at once.
        per_second: calls in the long run.
        alone_after_seconds: who asks when nobody else did for so long gets a fresh result, whatever
            was called before; never, unless given.
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
        """The result of a call that is shared; raises what that call raised."""
        now = time.monotonic()
        is_alone = now - self._asked_at >= self._alone_after_seconds
        self._asked_at = now
        if self._flight is None or (self._flight.done() and self._may_call(now, is_alone)):
            self._left = max(self._left - 1, 0)
            self._flight = asyncio.ensure_future(self._call())
        # Shielded: who leaves does not take the result from the others.
        return await asyncio.shield(self._flight)

    def _may_call(self, now: float, is_alone: bool) -> bool:
        grown = (now - self._counted_at) * self._per_second
        self._left = min(self._left + grown, self._burst)
        self._counted_at = now
        return is_alone or self._left >= 1


def probe_of(look: Callable[[], Awaitable[T]]) -> SingleFlight[T]:
    """A look at the database for `/readyz`: one a second, however many ask.

    A probe that is alone gets a fresh answer; strangers who keep to that pace cost fifty looks a
    second, of less than a millisecond each.
    """
    return SingleFlight(
        look,
        burst=LOOKS_AT_ONCE,
        per_second=LOOKS_PER_SECOND,
        alone_after_seconds=ALONE_AFTER_SECONDS,
    )
