"""Limits of what is asked less often than purchases: one bucket for each name."""

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
        policy: the limit's name, as clients read it.
        rate: of each bucket.
        settings: where Redis is.
    """

    def __init__(self, policy: str, rate: Rate, settings: Settings) -> None:
        self._rate = rate
        self._limiter = RateLimiter(policy, rate, settings)
        self._threads = BoundedExecutor(policy, threads=1, waiting_max=WAITING_MAX)

    def refuse_if_known(self, name: str) -> None:
        """Refuse at once while the name's bucket is known to be empty; takes no token.

        Raises:
            TooManyRequests: it is.
        """
        if not self._rate.is_unlimited:
            self._limiter.refuse_if_known(name)

    async def draw(self, name: str) -> Mapping[str, str]:
        """Take a token; returns the headers that tell what is left.

        Raises:
            TooManyRequests: there is none to take.
        """
        if self._rate.is_unlimited:
            return {}
        self._limiter.refuse_if_known(name)
        (drawn,) = await self._threads.run_for(name, self._limiter.draw, [name])
        return self._limiter.settle(drawn)

    def close(self) -> None:
        self._threads.close()
        self._limiter.close()
