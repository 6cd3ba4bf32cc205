"""The worker's SQL: lock the counter, read the queue, write the outcomes. No rule lives here."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec
from psycopg2.extensions import cursor

from purchase_worker.decision import NOT_ENOUGH_TICKETS, Decision, Inventory, Request

# NO KEY: it does not conflict with the key-share locks of foreign keys. SKIP LOCKED: whoever else
# holds the row, nobody waits for it here (see drain.py).
LOCK_INVENTORY = """
SELECT i.issued - i.sold, i.decisions, t.event_id
FROM ticket_inventory i JOIN ticket_types t ON t.id = i.ticket_type_id
WHERE i.ticket_type_id = %(ticket_type_id)s
FOR NO KEY UPDATE OF i SKIP LOCKED
"""

# Read after the lock was taken, so every row that was visible before is seen, in order.
READ_QUEUE = """
SELECT id::text, user_id, quantity, user_limit, unit_price, created_at, request_id,
       (SELECT pg_current_snapshot()::text), ctid::text
FROM ticket_purchases
WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
ORDER BY seq
LIMIT %(rows)s
"""

READ_HELD = """
SELECT user_id, sum(quantity)::int
FROM ticket_purchases
WHERE user_id = ANY(%(user_ids)s) AND ticket_type_id = %(ticket_type_id)s AND status = 'confirmed'
GROUP BY user_id
"""

# A request may have come after this transaction began: nothing is decided before it was accepted.
DECIDED_AT = "greatest(now(), %(latest)s)"

# The rows are found by their places, which nobody can change meanwhile: only the holder of the lock
# updates queued rows. No index is asked, and no plan can walk the whole queue for a few of them.
WRITE_DECISIONS = f"""
UPDATE ticket_purchases p
SET status = CASE WHEN d.reason IS NULL THEN 'confirmed' ELSE 'rejected' END,
    reason = d.reason, decided_at = {DECIDED_AT},
    decision_number = d.number, left_after = d.left_after
FROM unnest(%(places)s::tid[], %(ids)s::uuid[], %(reasons)s::text[], %(numbers)s::bigint[],
            %(lefts)s::int[]) AS d (place, id, reason, number, left_after)
WHERE p.ctid = d.place AND p.id = d.id AND p.decision_number IS NULL
"""

# The rule of a sold-out ticket type, without a round trip: nothing fits any more.
CLOSE_SOLD_OUT = """
UPDATE ticket_purchases p
SET status = 'rejected', reason = %(reason)s, decided_at = greatest(now(), q.latest),
    decision_number = %(decisions)s + q.nth, left_after = 0
FROM (SELECT place, row_number() OVER (ORDER BY seq) AS nth, max(created_at) OVER () AS latest
      FROM (SELECT ctid AS place, seq, created_at FROM ticket_purchases
            WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
            ORDER BY seq LIMIT %(rows)s) oldest) q
WHERE p.ctid = q.place
RETURNING p.id::text, p.user_id, p.quantity, p.user_limit, p.unit_price, p.created_at,
          p.request_id, (SELECT pg_current_snapshot()::text), p.ctid::text, q.nth
"""

WRITE_BATCH = f"""
INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by,
                              decided_at)
VALUES (%(ticket_type_id)s, %(first)s, %(last)s, %(seen)s, %(decided_by)s, {DECIDED_AT})
RETURNING decided_at
"""

# The last of a batch: the database holds the counter's move against the rows that were written.
WRITE_INVENTORY = """
UPDATE ticket_inventory SET sold = sold + %(sold)s, decisions = %(decisions)s
WHERE ticket_type_id = %(ticket_type_id)s
"""

# In this form the planner takes the queue's index; of EXISTS it may make a scan of the whole table.
HAS_QUEUED = """
SELECT 1 FROM ticket_purchases
WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued' ORDER BY seq LIMIT 1
"""

# One step in the queue's index for each ticket type, however long its queue is.
QUEUED_TOO_LONG = """
WITH RECURSIVE oldest AS (
    (SELECT ticket_type_id, created_at FROM ticket_purchases
     WHERE status = 'queued' ORDER BY ticket_type_id, seq LIMIT 1)
    UNION ALL
    SELECT n.ticket_type_id, n.created_at FROM oldest o CROSS JOIN LATERAL
        (SELECT ticket_type_id, created_at FROM ticket_purchases
         WHERE status = 'queued' AND ticket_type_id > o.ticket_type_id
         ORDER BY ticket_type_id, seq LIMIT 1) n
)
SELECT ticket_type_id FROM oldest
WHERE created_at < now() - make_interval(secs => %(seconds)s)
ORDER BY created_at
"""


class Locked(msgspec.Struct, frozen=True):
    """A ticket type whose inventory row this transaction has locked."""

    inventory: Inventory
    event_id: int


class QueuedRow(msgspec.Struct, frozen=True):
    """A queued request with what its result will tell."""

    request: Request
    unit_price: Decimal
    created_at: datetime
    request_id: str | None


class Queue(msgspec.Struct, frozen=True):
    """The oldest queued requests, and which transactions were visible when they were read.

    `places`: where in the table each row lies; good until the transaction ends.
    `latest`: when the last of them was accepted; None if there is none.
    """

    rows: list[QueuedRow]
    places: list[str]
    seen: str
    latest: datetime | None


def lock_inventory(cursor: cursor, ticket_type_id: int) -> Locked | None:
    """Lock the counter until the transaction ends; None when another holds it or it is gone."""
    cursor.execute(LOCK_INVENTORY, {"ticket_type_id": ticket_type_id})
    row = cursor.fetchone()
    return None if row is None else Locked(Inventory(row[0], row[1]), row[2])


def read_queue(cursor: cursor, ticket_type_id: int, rows: int) -> Queue:
    """The oldest queued requests in the order of acceptance; call it under the lock."""
    cursor.execute(READ_QUEUE, {"ticket_type_id": ticket_type_id, "rows": rows})
    return _queue(cursor.fetchall())


def read_held(cursor: cursor, ticket_type_id: int, user_ids: Sequence[int]) -> dict[int, int]:
    """Tickets of this type that each of the users holds."""
    if not user_ids:
        return {}
    cursor.execute(READ_HELD, {"ticket_type_id": ticket_type_id, "user_ids": list(user_ids)})
    return dict(cursor.fetchall())


def write_decisions(cursor: cursor, queue: Queue, decisions: Sequence[Decision]) -> None:
    """Give each request of the queue its outcome.

    Raises:
        RuntimeError: a request was no longer queued, which the lock makes impossible.
    """
    cursor.execute(
        WRITE_DECISIONS,
        {
            "places": queue.places,
            "ids": [d.request.id for d in decisions],
            "reasons": [d.reason for d in decisions],
            "numbers": [d.number for d in decisions],
            "lefts": [d.left_after for d in decisions],
            "latest": queue.latest,
        },
    )
    if cursor.rowcount != len(decisions):
        raise RuntimeError(f"decided {len(decisions)} requests, yet {cursor.rowcount} were queued")


def close_sold_out(cursor: cursor, ticket_type_id: int, decisions: int, rows: int) -> Queue:
    """Reject the oldest queued requests of a sold-out ticket type; call it under the lock."""
    cursor.execute(
        CLOSE_SOLD_OUT,
        {
            "ticket_type_id": ticket_type_id,
            "decisions": decisions,
            "rows": rows,
            "reason": NOT_ENOUGH_TICKETS,
        },
    )
    # RETURNING promises no order.
    return _queue(sorted(cursor.fetchall(), key=itemgetter(9)))


def write_inventory(
    cursor: cursor,
    ticket_type_id: int,
    *,
    before: Inventory,
    after: Inventory,
    queue: Queue,
    decided_by: str,
) -> datetime:
    """Record the batch and move the counter on; returns the time of the decisions."""
    cursor.execute(
        WRITE_BATCH,
        {
            "ticket_type_id": ticket_type_id,
            "first": before.decisions + 1,
            "last": after.decisions,
            "seen": queue.seen,
            "decided_by": decided_by,
            "latest": queue.latest,
        },
    )
    row = cursor.fetchone()
    assert row is not None, "an insert returns its row"
    cursor.execute(
        WRITE_INVENTORY,
        {
            "ticket_type_id": ticket_type_id,
            "sold": before.left - after.left,
            "decisions": after.decisions,
        },
    )
    decided_at: datetime = row[0]
    return decided_at


def has_queued(cursor: cursor, ticket_type_id: int) -> bool:
    cursor.execute(HAS_QUEUED, {"ticket_type_id": ticket_type_id})
    return cursor.fetchone() is not None


def queued_too_long(cursor: cursor, seconds: float) -> list[int]:
    """Ticket types with a request that was accepted longer ago than that; the oldest first."""
    cursor.execute(QUEUED_TOO_LONG, {"seconds": seconds})
    return [row[0] for row in cursor.fetchall()]


def _queue(rows: list[tuple[Any, ...]]) -> Queue:
    return Queue(
        rows=[
            QueuedRow(Request(row[0], row[1], row[2], row[3]), row[4], row[5], row[6])
            for row in rows
        ],
        places=[row[8] for row in rows],
        seen=rows[0][7] if rows else "",
        latest=max((row[5] for row in rows), default=None),
    )
