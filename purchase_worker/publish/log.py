"""Counts and logs a decided batch."""

from collections import Counter
from datetime import datetime

from purchase_worker import metrics
from purchase_worker.drain import Batch
from shared.observability.logging import get_logger

# A line stays below 16 KiB, where container engines cut it, even if every id is as long as allowed
# (128 characters, shared/web/edge.py).
REQUEST_IDS_A_LINE = 100

logger = get_logger(__name__)


def count_batch(batch: Batch) -> None:
    metrics.DRAIN_BATCH_ROWS.observe(batch.rows)
    for outcome, purchases in batch.outcomes.items():
        metrics.DECIDED.labels(outcome).inc(purchases)
    # `now` is when the transaction began; a lane's own time may be ahead of it.
    committed_at = datetime.fromisoformat(batch.parts[0].lane.now).timestamp() + batch.seconds
    # Requests that were accepted together have one time, so there are few different ones.
    times = Counter(work.created_at for part in batch.parts for work in part.work)
    for created_at, purchases in times.items():
        seconds = max(0.0, committed_at - datetime.fromisoformat(created_at).timestamp())
        metrics.REQUEST_TO_DECISION_SECONDS.observe_many(seconds, purchases)


def log_batch(batch: Batch) -> None:
    """Log one line for a batch, and more if it has more requests than fit into a line."""
    request_ids = [work.request_id for part in batch.parts for work in part.work]
    # With the event, a number identifies an entry of the ledger.
    same_in_each_line = {
        "events": [part.lane.event_id for part in batch.parts],
        "numbers": [[part.before.number + 1, part.after.number] for part in batch.parts],
    }
    logger.info(
        "batch_decided",
        **same_in_each_line,
        rows=batch.rows,
        **batch.outcomes,
        seconds=round(batch.seconds, 4),
        request_ids=request_ids[:REQUEST_IDS_A_LINE],
    )
    for start in range(REQUEST_IDS_A_LINE, len(request_ids), REQUEST_IDS_A_LINE):
        logger.info(
            "batch_decided_continued",
            **same_in_each_line,
            request_ids=request_ids[start : start + REQUEST_IDS_A_LINE],
        )
