"""Watches how much is queued, so that a flood is refused at the door before it drowns the queue."""

import asyncio
from math import nan

from sqlalchemy import Engine

from gateway import metrics
from gateway.purchases import store
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.observability.logging import get_logger

logger = get_logger(__name__)


class BacklogGauge:
    """Counts the queue every so often; exact enough, for its limit is far from any edge."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self.is_full = False
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
                queued, oldest_seconds = await asyncio.to_thread(
                    store.queued_now, self._engine, limit
                )
            except DATABASE_UNAVAILABLE as error:
                logger.warning("backlog_count_unavailable", error=str(error))
                _tell(nan, nan)
            except Exception:
                logger.exception("backlog_count_failed")
                _tell(nan, nan)
            else:
                _tell(queued, oldest_seconds)
                metrics.QUEUE_READ_TIMESTAMP_SECONDS.set_to_current_time()
                if (queued >= limit) != self.is_full:
                    self.is_full = queued >= limit
                    logger.warning("backlog_full" if self.is_full else "backlog_drained")
            await asyncio.sleep(self._settings.backlog_check_seconds)


def _tell(queued: float, oldest_seconds: float) -> None:
    """Not a number: nobody knows, which is better than what was true once."""
    metrics.QUEUED.set(queued)
    metrics.OLDEST_QUEUED_SECONDS.set(oldest_seconds)
