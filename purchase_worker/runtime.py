"""What a deciding process holds: its connections, opened after the fork and never before."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import redis
from sqlalchemy import Engine

from purchase_worker import metrics
from purchase_worker.drain import Batch
from purchase_worker.linger import Linger
from purchase_worker.results import ResultPublisher
from purchase_worker.traces import DecisionTraces
from shared.broker import PURCHASES_QUEUE
from shared.database import open_engine
from shared.logging import get_logger
from shared.purchases import CONFIRMED
from shared.redis_client import open_redis
from shared.redis_url import REDIS
from shared.settings import Settings
from shared.tracing import open_tracing

logger = get_logger(__name__)


class Runtime:
    """The connections of one process that decides."""

    def __init__(self, settings: Settings, process_name: str) -> None:
        self.settings = settings
        self.engine: Engine = open_engine(settings, process_name, pool_size=2, prepares=True)
        self._publisher = ResultPublisher(settings)
        self.redis: redis.Redis = self._publisher.redis
        # Other brokers than Redis are not asked what waits in them.
        broker_url = settings.celery_broker_url
        self._broker = open_redis(settings, broker_url) if broker_url.startswith(REDIS) else None
        spans = open_tracing(process_name)
        self._traces = DecisionTraces(spans, self.engine) if spans is not None else None
        self.linger: Callable[[Batch], Iterable[None]] = Linger(self._others_wait)

    def tell(self, batch: Batch) -> None:
        """What others hear of a batch after its commit: its counts, a log line, results, spans."""
        reasons = [d.reason for part in batch.parts for d in part.decided.decisions]
        _count(batch, reasons)
        confirmed = reasons.count(None)
        logger.info(
            "batch_decided",
            ticket_types=[part.locked.ticket_type_id for part in batch.parts],
            confirmed=confirmed,
            rejected=len(reasons) - confirmed,
            left=[part.decided.inventory.left for part in batch.parts],
            seconds=round(batch.seconds, 4),
            request_ids=[row.request_id for part in batch.parts for row in part.queue.rows],
        )
        self._publisher(batch)
        if self._traces is not None:
            self._traces.decided(batch)

    def taking_hint(self, traceparent: str | None) -> AbstractContextManager[None]:
        """The turn that a hint brings about, in its trace if it has one."""
        return nullcontext() if self._traces is None else self._traces.hint(traceparent)

    def _others_wait(self) -> bool:
        """Whether hints wait in the broker; where that cannot be known, they may."""
        if self._broker is None:
            return True
        try:
            return self._broker.llen(PURCHASES_QUEUE) > 0
        except redis.RedisError:
            return True

    def close(self) -> None:
        if self._traces is not None:
            self._traces.close()
        self.engine.dispose()
        self.redis.close()
        if self._broker is not None:
            self._broker.close()


def _count(batch: Batch, reasons: Sequence[str | None]) -> None:
    """By the batch: what was accepted together has one time, so there are few of them."""
    metrics.DRAIN_BATCH_ROWS.observe(len(reasons))
    for reason, purchases in Counter(reasons).items():
        metrics.DECIDED.labels(reason or CONFIRMED).inc(purchases)
    # The transaction began when they were decided, as clients read it.
    committed_at = datetime.fromisoformat(batch.decided_at).timestamp() + batch.seconds
    times = Counter(row.created_at for part in batch.parts for row in part.queue.rows)
    for created_at, purchases in times.items():
        seconds = committed_at - datetime.fromisoformat(created_at).timestamp()
        metrics.REQUEST_TO_DECISION_SECONDS.observe_many(seconds, purchases)
