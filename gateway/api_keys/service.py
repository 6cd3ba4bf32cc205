"""The use cases of a user's API keys: make, list, revoke."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from gateway.api_keys import store
from gateway.api_keys.store import OwnKey
from shared.auth.caller import KeyScope
from shared.auth.live_credentials import hash_of, new_key
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.once import KeyedRequest
from shared.errors import NotFound
from shared.web.pagination import CursorWanted, PageWanted

WAITING_MAX = 100


class OwnKeys:
    """Every call may raise Unavailable: too many wait, or the database is unavailable."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._threads = BoundedExecutor(
            "own-keys",
            threads=1,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )

    async def make(
        self,
        user_id: int,
        name: str,
        scopes: list[KeyScope],
        expires_at: datetime | None,
        keyed: KeyedRequest | None = None,
    ) -> tuple[OwnKey, str | None]:
        """A new key and its secret, which is stored nowhere; None: it was made before.

        Raises:
            IdempotencyKeyReused, NotFound: as `once` does.
            InvalidInput: `expires_at` is not in the future.
            TokenNotValid: the user does not exist any more.
            Conflict: the user has too many keys.
        """
        key = new_key()
        made, is_replay = await self._threads.run_for(
            str(user_id),
            store.add,
            self._engine,
            user_id,
            name,
            [scope.value for scope in scopes],
            hash_of(key),
            expires_at,
            keyed,
        )
        return made, None if is_replay else key

    async def page(self, user_id: int, wanted: PageWanted | CursorWanted) -> dict[str, Any]:
        """Raises what `store.page` raises."""
        return await self._threads.run_for(str(user_id), store.page, self._engine, user_id, wanted)

    async def revoke(self, user_id: int, key_id: int) -> None:
        """Raises NotFound: the user has no such key."""
        if not await self._threads.run_for(
            str(user_id), store.revoke, self._engine, user_id, key_id
        ):
            raise NotFound

    async def aclose(self) -> None:
        self._threads.close()
