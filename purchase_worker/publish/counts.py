"""What is counted of a decided batch."""

from collections import Counter
from datetime import datetime

from purchase_worker import metrics
from purchase_worker.drain import Batch


def count_batch(batch: Batch) -> None:
    """By the batch: what was accepted together has one time, so there are few of them."""
    metrics.DRAIN_BATCH_ROWS.observe(batch.rows)
    for outcome, purchases in batch.outcomes.items():
        metrics.DECIDED.labels(outcome).inc(purchases)
    # The transaction began when they were decided, as clients read it.
    committed_at = datetime.fromisoformat(batch.decided_at).timestamp() + batch.seconds
    times = Counter(row.created_at for part in batch.parts for row in part.queue.rows)
    for created_at, purchases in times.items():
        seconds = committed_at - datetime.fromisoformat(created_at).timestamp()
        metrics.REQUEST_TO_DECISION_SECONDS.observe_many(seconds, purchases)
