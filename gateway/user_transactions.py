"""Transactions of users whose requests are rare, in a thread of their own."""

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Engine

from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings

WAITING_MAX: Final = 100

P = ParamSpec("P")
T = TypeVar("T")


class UserTransactions:
    """Users take turns. `name`: of the thread."""

    def __init__(self, name: str, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._threads = BoundedExecutor(
            name,
            threads=1,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )

    async def run(
        self,
        user_id: int,
        work: Callable[Concatenate[Engine, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Raises what `work` raises, and Unavailable where too many wait."""
        return await self._threads.run_for(
            str(user_id), work, self._engine, user_id, *args, **kwargs
        )

    async def aclose(self) -> None:
        self._threads.close()
