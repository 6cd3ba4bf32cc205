"""What a deciding process holds: its connections, opened after the fork and never before."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import redis
from sqlalchemy import Engine

from purchase_worker.consumer.linger import Linger
from purchase_worker.drain import Batch
from purchase_worker.publish.counts import count_batch
from purchase_worker.publish.log import log_batch
from purchase_worker.publish.results import ResultPublisher
from purchase_worker.publish.traces import DecisionTraces
from shared.config.redis_url import REDIS
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.rights import WORKER
from shared.messaging.celery_client import PURCHASES_QUEUE
from shared.messaging.redis_client import open_redis
from shared.observability.tracing import open_tracing


class Runtime:
    """The connections of one process that decides."""

    def __init__(self, settings: Settings, process_name: str) -> None:
        self.settings = settings
        self.engine: Engine = open_engine(
            settings, process_name, pool_size=2, prepares=True, role=WORKER
        )
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
        count_batch(batch)
        log_batch(batch)
        self._publisher(batch)
        if self._traces is not None:
            self._traces.decided(batch)

    def taking_wakeup(self, traceparent: str | None) -> AbstractContextManager[None]:
        """The turn that a wake-up brings about, in its trace if it has one."""
        return nullcontext() if self._traces is None else self._traces.wakeup(traceparent)

    def _others_wait(self) -> bool:
        """Whether wake-ups wait in the broker; where that cannot be known, they may."""
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
