"""What becomes of traced purchases in the process that decides them, where traces are wanted.

A batch is one span, below the hint's, with links to the purchases that it decided. Each traced
purchase has besides a span `decide` in its own trace, which the row has carried here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from purchase_worker.drain import Batch
from shared.broker import PURCHASES_QUEUE
from shared.purchases import CONFIRMED

if TYPE_CHECKING:
    from shared.spans import Spans

MESSAGING = {
    "messaging.system": "celery",
    "messaging.operation.type": "process",
    "messaging.destination.name": PURCHASES_QUEUE,
}


class DecisionTraces:
    """The spans of one process, which takes one hint at a time."""

    def __init__(self, spans: "Spans") -> None:
        self._spans = spans
        self._hint: str | None = None

    @contextmanager
    def hint(self, traceparent: str | None) -> Iterator[None]:
        """The turn that a hint brings about; nothing where it was not traced."""
        if traceparent is None:
            yield
            return
        with self._spans.open(
            f"process {PURCHASES_QUEUE}", "CONSUMER", parent=traceparent, attributes=MESSAGING
        ) as span:
            self._hint = self._spans.traceparent_of(span)
            try:
                yield
            finally:
                self._hint = None

    def decided(self, batch: Batch) -> None:
        """A batch that was just committed."""
        traced = [
            (row.traceparent, part.locked.ticket_type_id, decision)
            for part in batch.parts
            for row, decision in zip(part.queue.rows, part.decided.decisions, strict=True)
            if row.traceparent is not None
        ]
        if not traced:
            return
        ended_ns = time.time_ns()
        began_ns = ended_ns - round(1e9 * batch.seconds)
        whole = self._spans.record(
            "decide batch",
            "INTERNAL",
            parent=self._hint,
            # The SDK keeps the first 128 (OTEL_SPAN_LINK_COUNT_LIMIT).
            links=[traceparent for traceparent, *_ in traced],
            attributes={"eventify.batch_rows": batch.rows},
            began_ns=began_ns,
            ended_ns=ended_ns,
        )
        for traceparent, ticket_type_id, decision in traced:
            self._spans.record(
                "decide",
                "CONSUMER",
                parent=traceparent,
                links=[whole] if whole is not None else [],
                attributes={
                    "eventify.purchase": decision.request.id,
                    "eventify.ticket_type": ticket_type_id,
                    "eventify.outcome": decision.reason or CONFIRMED,
                    "eventify.decision_number": decision.number,
                },
                began_ns=began_ns,
                ended_ns=ended_ns,
            )

    def close(self) -> None:
        self._spans.close()
