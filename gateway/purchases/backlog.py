"""Watches how much is queued, so that a flood is refused at the door before it drowns the queue."""

import asyncio

from sqlalchemy import Engine

from gateway.purchases import store
from shared.database import DATABASE_AWAY
from shared.logging import get_logger
from shared.settings import Settings

logger = get_logger(__name__)


class BacklogGauge:
    """Counts the queue every so often; exact enough, for its limit is far from any edge."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self.is_full = False
        self.queued = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        limit = self._settings.backlog_max_rows
        while True:
            try:
                queued = await asyncio.to_thread(store.queued_now, self._engine, limit)
            except DATABASE_AWAY as error:
                logger.warning("backlog_not_counted", error=str(error))
            except Exception:
                logger.exception("counting_failed")
            else:
                self.queued = queued
                if (queued >= limit) != self.is_full:
                    self.is_full = queued >= limit
                    logger.warning("backlog_full" if self.is_full else "backlog_drained")
            await asyncio.sleep(self._settings.backlog_check_seconds)
