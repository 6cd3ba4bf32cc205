"""The lines in the log about a decided batch: what came of it, and whose requests were in it."""

from purchase_worker.drain import Batch
from shared.observability.logging import get_logger

# A line stays below 16 KiB, where container engines cut it, were every id as long as it may be
# (128 characters, shared/web/edge.py).
REQUEST_IDS_A_LINE = 100

logger = get_logger(__name__)


def log_batch(batch: Batch) -> None:
    """One line for a batch, and more of them where it has more requests than a line may name."""
    request_ids = [row.request_id for part in batch.parts for row in part.queue.rows]
    ticket_types = [part.locked.ticket_type_id for part in batch.parts]
    # With the ticket type each number is one purchase's (`ticket_purchases.decision_number`).
    numbers = [
        [part.locked.inventory.decisions + 1, part.decided.inventory.decisions]
        for part in batch.parts
    ]
    logger.info(
        "batch_decided",
        ticket_types=ticket_types,
        decision_numbers=numbers,
        left=[part.decided.inventory.left for part in batch.parts],
        rows=batch.rows,
        **batch.outcomes,
        seconds=round(batch.seconds, 4),
        request_ids=request_ids[:REQUEST_IDS_A_LINE],
    )
    for start in range(REQUEST_IDS_A_LINE, len(request_ids), REQUEST_IDS_A_LINE):
        logger.info(
            "batch_decided_also",
            ticket_types=ticket_types,
            decision_numbers=numbers,
            request_ids=request_ids[start : start + REQUEST_IDS_A_LINE],
        )
