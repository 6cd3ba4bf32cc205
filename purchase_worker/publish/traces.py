"""The spans of decisions, where tracing is on.

A batch is one span, a child of the wake-up's, with links to the purchases that it decided. Each
traced purchase also has a span `decide` in its own trace, whose context its row carries.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.drain import Batch
from shared.database.engine import DATABASE_UNAVAILABLE, statement
from shared.messaging.celery_client import PURCHASES_QUEUE
from shared.observability.logging import get_logger

if TYPE_CHECKING:
    from shared.observability.spans import Spans

MESSAGING = {
    "messaging.system": "celery",
    "messaging.operation.type": "process",
    "messaging.destination.name": PURCHASES_QUEUE,
}

logger = get_logger(__name__)


class DecisionTraces:
    """The spans of one process, which handles one wake-up at a time."""

    def __init__(self, spans: "Spans", engine: Engine) -> None:
        self._spans = spans
        self._engine = engine
        self._wakeup: str | None = None

    @contextmanager
    def wakeup(self, traceparent: str | None) -> Iterator[None]:
        """A span around the work of a wake-up, if that is traced."""
        if traceparent is None:
            yield
            return
        with self._spans.open(
            f"process {PURCHASES_QUEUE}", "CONSUMER", parent=traceparent, attributes=MESSAGING
        ) as span:
            self._wakeup = self._spans.traceparent_of(span)
            try:
                yield
            finally:
                self._wakeup = None

    def decided(self, batch: Batch) -> None:
        """Record a batch that was just committed."""
        ended_ns = time.time_ns()
        traceparents = self._traceparents(batch)
        if not traceparents:
            return
        began_ns = ended_ns - round(1e9 * batch.seconds)
        whole = self._spans.record(
            "decide batch",
            "INTERNAL",
            parent=self._wakeup,
            # The SDK keeps the first 128 (OTEL_SPAN_LINK_COUNT_LIMIT).
            links=traceparents.values(),
            attributes={"eventify.batch_rows": batch.rows},
            began_ns=began_ns,
            ended_ns=ended_ns,
        )
        for part, work, entry in batch.decided:
            if work.command.id in traceparents:
                self._spans.record(
                    "decide",
                    "CONSUMER",
                    parent=traceparents[work.command.id],
                    links=[whole] if whole is not None else [],
                    attributes={
                        "eventify.purchase": entry.purchase_id or work.command.id,
                        "eventify.event": part.lane.event_id,
                        "eventify.outcome": entry.reason or entry.kind,
                        "eventify.number": entry.number,
                    },
                    began_ns=began_ns,
                    ended_ns=ended_ns,
                )

    def _traceparents(self, batch: Batch) -> Mapping[str, str]:
        ids = [work.command.id for part in batch.parts for work in part.work]
        try:
            with statement(self._engine) as cursor:
                return store.read_traceparents(cursor, ids)
        except DATABASE_UNAVAILABLE as error:
            # The decisions stand; they are only missing from their traces.
            logger.warning("traceparents_unavailable", rows=len(ids), error=str(error))
            return {}

    def close(self) -> None:
        self._spans.close()
