"""Counts queued purchases, so that the gateway stops accepting before the queue is too long."""

import asyncio
from math import nan

from sqlalchemy import Engine

from gateway import metrics
from gateway.purchases import read
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.observability.logging import get_logger

logger = get_logger(__name__)


class BacklogGauge:
    """Whether the backlog `is_full`, as of the last check; `checks` has to be started."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._limit = settings.backlog_max_rows
        self._engine = engine
        self.is_full = False
        metrics.BACKLOG_MAX_ROWS.set(self._limit)
        self.checks = Periodic(
            self._check, settings.backlog_check_seconds, logger, "backlog_count_failed"
        )

    async def _check(self) -> None:
        queued = oldest_seconds = nan  # exported while unknown, rather than an old value
        try:
            queued, oldest_seconds = await asyncio.to_thread(
                read.queued_now, self._engine, self._limit
            )
        except DATABASE_UNAVAILABLE as error:
            logger.warning("backlog_count_unavailable", error=str(error))
            return
        finally:
            metrics.QUEUED.set(queued)
            metrics.OLDEST_QUEUED_SECONDS.set(oldest_seconds)
        metrics.QUEUE_READ_TIMESTAMP_SECONDS.set_to_current_time()
        if (queued >= self._limit) != self.is_full:
            self.is_full = queued >= self._limit
            logger.warning("backlog_full" if self.is_full else "backlog_drained")
