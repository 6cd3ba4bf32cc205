"""What a deciding process holds: its connections, opened after the fork and never before."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace
from psycopg2.errors import QueryCanceled
from sqlalchemy import Engine

from purchase_worker import metrics
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
        # By event of which a statement took too long: how often its batches are halved.
        self._halvings: dict[int, int] = {}
        # The last event whose holds the sweeper looked at; 0: it begins with the first.
        self.holds_walked_to = 0

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
        still queued, and the sweeper tries again. An event of which a statement took too long is
        drained by itself, in one smaller batch each time.

        Raises:
            DATABASE_UNAVAILABLE: the cause is most likely not one event.
        """
        slow = [id_ for id_ in event_ids if id_ in self._halvings]
        if slow and len(event_ids) > 1:
            usual = [id_ for id_ in event_ids if id_ not in self._halvings]
            parts = [self.drain(usual, linger, whole=whole, woken=woken)] if usual else []
            return _sum_of([*parts, *(self.drain([id_], whole=whole) for id_ in slow)])
        settings = self._halved(slow[0]) if slow else self.settings
        began = time.monotonic()
        try:
            drained = drain(
                self.engine,
                event_ids,
                settings,
                self.publish,
                linger,
                whole=whole,
                woken=woken,
            )
        except QueryCanceled as error:
            return self._halve(event_ids, error)
        except DATABASE_UNAVAILABLE:
            raise
        except Exception:
            logger.exception("drain_failed", events=event_ids)
        else:
            return self._grow(slow[0], drained, time.monotonic() - began) if slow else drained
        if len(event_ids) == 1:
            return Drained(0, 0, [], [])
        return _sum_of([self.drain([event_id], whole=whole) for event_id in event_ids])

    def _halved(self, event_id: int) -> Settings:
        """With smaller batches, of which one is decided: the next may be of another size."""
        halvings, usual = self._halvings[event_id], self.settings
        return usual.model_copy(
            update={
                "drain_batch_rows": max(1, usual.drain_batch_rows >> halvings),
                "drain_close_rows": max(1, usual.drain_close_rows >> halvings),
                "drain_max_batches": 1,
            }
        )

    def _halve(self, event_ids: Sequence[int], error: QueryCanceled) -> Drained:
        """After `statement_timeout_ms`. All that a batch reads and writes grows with its rows.

        It is not tried again here: each attempt takes that long, and other events wait. Of several
        events each gets half of what it had in their batch. One for which a single row took too
        long is left to the sweeper.
        """
        rows = max(self.settings.drain_batch_rows, self.settings.drain_close_rows)
        most = rows.bit_length() - 1
        before = self._halvings.get(event_ids[0], 0)
        halvings = min(before + 1 + (len(event_ids) - 1).bit_length(), most)
        self._halvings.update(dict.fromkeys(event_ids, halvings))
        metrics.DRAINS_INTERRUPTED.inc()
        logger.warning("drain_too_slow", events=event_ids, halvings=halvings, error=str(error))
        return Drained(0, 0, [], [] if before == most else list(event_ids))

    def _grow(self, event_id: int, drained: Drained, seconds: float) -> Drained:
        """Twice as many rows the next time, unless those might take too long again."""
        if not drained.decided:
            # Another process decides them, or none are queued.
            return replace(drained, more=[])
        if seconds < self.settings.statement_timeout_ms / 2_000:
            self._halvings[event_id] -= 1
            if self._halvings[event_id] <= 0:
                del self._halvings[event_id]
        return drained

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


def _sum_of(parts: Sequence[Drained]) -> Drained:
    return Drained(
        decided=sum(each.decided for each in parts),
        batches=sum(each.batches for each in parts),
        emptied=[id_ for each in parts for id_ in each.emptied],
        more=[id_ for each in parts for id_ in each.more],
    )
