"""What a deciding process holds: its connections, opened after the fork and never before."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Engine

from purchase_worker.consumer.linger import Linger
from purchase_worker.drain import Batch, Drained, drain, no_linger
from purchase_worker.publish.log import count_batch, log_batch
from purchase_worker.publish.results import ResultPublisher
from purchase_worker.publish.traces import DecisionTraces
from shared.config.redis_url import REDIS
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, open_engine
from shared.database.rights import WORKER
from shared.messaging.celery_client import PURCHASES_QUEUE
from shared.messaging.redis_client import RedisError, open_redis
from shared.observability.logging import get_logger
from shared.observability.tracing import open_tracing

logger = get_logger(__name__)


class Runtime:
    def __init__(self, settings: Settings, process_name: str) -> None:
        self.settings = settings
        spans = open_tracing(process_name)
        # The sweeper's election, a drain, and what tracing reads of its batch.
        pool_size = 2 if spans is None else 3
        self.engine: Engine = open_engine(
            settings, process_name, pool_size=pool_size, prepares=True, role=WORKER
        )
        self._publisher = ResultPublisher(settings)
        self.redis = self._publisher.redis
        # Only a broker that is Redis can be asked cheaply how many messages it holds.
        broker_url = settings.celery_broker_url
        self._broker = open_redis(settings, broker_url) if broker_url.startswith(REDIS) else None
        self._traces = DecisionTraces(spans, self.engine) if spans is not None else None
        self.linger: Callable[[Batch], Iterable[None]] = Linger(self._wakeups_wait)

    def drain(
        self,
        event_ids: Sequence[int],
        linger: Callable[[Batch], Iterable[None]] = no_linger,
        *,
        whole: bool = False,
        woken: bool = False,
    ) -> Drained:
        """Drain these queues together; if that fails, each by itself.

        So an event that cannot be decided does not block the others. What was not committed is
        still queued, and the sweeper tries again.

        Raises:
            DATABASE_UNAVAILABLE: the cause is most likely not one event.
        """
        try:
            return drain(
                self.engine,
                event_ids,
                self.settings,
                self.publish,
                linger,
                whole=whole,
                woken=woken,
            )
        except DATABASE_UNAVAILABLE:
            raise
        except Exception:
            logger.exception("drain_failed", events=event_ids)
        if len(event_ids) == 1:
            return Drained(0, 0, [], [])
        alone = [self.drain([event_id], whole=whole) for event_id in event_ids]
        return Drained(
            decided=sum(each.decided for each in alone),
            batches=sum(each.batches for each in alone),
            emptied=[id_ for each in alone for id_ in each.emptied],
            more=[id_ for each in alone for id_ in each.more],
        )

    def publish(self, batch: Batch) -> None:
        """Count, log and trace a committed batch, and publish its results."""
        count_batch(batch)
        log_batch(batch)
        self._publisher(batch)
        if self._traces is not None:
            self._traces.decided(batch)

    def trace_wakeup(self, traceparent: str | None) -> AbstractContextManager[None]:
        return nullcontext() if self._traces is None else self._traces.wakeup(traceparent)

    def _wakeups_wait(self) -> bool:
        """Whether wake-ups wait in the broker; True where that is unknown."""
        if self._broker is None:
            return True
        try:
            return self._broker.llen(PURCHASES_QUEUE) > 0
        except RedisError:
            return True

    def close(self) -> None:
        if self._traces is not None:
            self._traces.close()
        self.engine.dispose()
        self.redis.close()
        if self._broker is not None:
            self._broker.close()
