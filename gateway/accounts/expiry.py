"""Deletes the refresh tokens that nobody can use any more, a few at a time, every few minutes."""

import asyncio
import time

from sqlalchemy import Engine

from gateway.accounts import store
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.observability.logging import get_logger

logger = get_logger(__name__)


class ExpiredTokens:
    """Every gateway may do this: each takes the families that no other has in hand."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._delete_for_ever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _delete_for_ever(self) -> None:
        while True:
            try:
                await self._delete_all()
            except Unavailable:
                pass  # was logged where it was met; the next turn begins afresh
            except Exception:
                logger.exception("expired_tokens_not_deleted")
            await asyncio.sleep(self._settings.refresh_cleanup_seconds)

    async def _delete_all(self) -> None:
        families = self._settings.refresh_cleanup_families
        started = time.monotonic()
        while deleted := await asyncio.to_thread(store.delete_expired, self._engine, families):
            logger.info("expired_tokens_deleted", tokens=deleted)
            # Where there are millions of them, half of a connection's time is enough.
            await asyncio.sleep(time.monotonic() - started)
            started = time.monotonic()
