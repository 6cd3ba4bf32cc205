"""The use cases of audits of an event."""

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Engine

from gateway.audits import store
from gateway.audits.store import StoredAudit
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.once import KeyedRequest
from shared.web.pagination import CursorWanted, PageWanted

WAITING_MAX: Final = 100
# Requests of one user, also those that join an audit. It may take minutes of a core.
RATE: Final = Rate(10, 0.1)

P = ParamSpec("P")
T = TypeVar("T")


class Audits:
    """Every call raises what `store` raises, and Unavailable where too many wait."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._threads = BoundedExecutor(
            "audits",
            threads=1,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )
        self.limit = UserLimit(settings, "audits", RATE)

    async def aclose(self) -> None:
        self._threads.close()
        await self.limit.close()

    async def request(
        self, user_id: int, event_id: int, keyed: KeyedRequest | None
    ) -> tuple[StoredAudit, bool]:
        return await self._run(user_id, store.request, event_id, keyed)

    async def read(self, user_id: int, event_id: int, audit_id: int) -> StoredAudit:
        return await self._run(user_id, store.read, event_id, audit_id)

    async def page(
        self, user_id: int, event_id: int, wanted: PageWanted | CursorWanted
    ) -> dict[str, Any]:
        return await self._run(user_id, store.page, event_id, wanted)

    async def _run(
        self,
        user_id: int,
        work: Callable[Concatenate[Engine, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._threads.run_for(
            str(user_id), work, self._engine, user_id, *args, **kwargs
        )
