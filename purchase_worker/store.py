"""The worker's SQL: lock the counter, read the queue, write the outcomes. No rule lives here.

A batch takes three round trips, one more where users have limits: BEGIN travels with the lock,
COMMIT with the writing and with the look at what came meanwhile. Reading is a statement of its
own: it must see whatever was there when the lock was taken.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg2.extensions import cursor

from purchase_worker.decision import NOT_ENOUGH_TICKETS, Decided, Inventory, Request
from shared.database import roll_back
from shared.prepared import Prepared, array_literal
from shared.purchases import as_time

# NO KEY: it does not conflict with the key-share locks of foreign keys. SKIP LOCKED: whoever else
# holds the row, nobody waits for it here (see drain.py).
LOCK_INVENTORY = Prepared(
    "lock_inventory",
    f"""
SELECT i.issued - i.sold, i.decisions, t.event_id, {as_time("now()")}
FROM ticket_inventory i JOIN ticket_types t ON t.id = i.ticket_type_id
WHERE i.ticket_type_id = %(ticket_type_id)s
FOR NO KEY UPDATE OF i SKIP LOCKED
""",
)

# Read after the lock was taken, so every row that was visible before is seen, in order.
READ_QUEUE = Prepared(
    "read_queue",
    f"""
SELECT id::text, user_id, quantity, user_limit, unit_price::text, {as_time("created_at")},
       request_id, ctid::text, (SELECT pg_current_snapshot()::text)
FROM ticket_purchases
WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
ORDER BY seq
LIMIT %(rows)s
""",
)

# OFFSET 0 has each user's purchases looked up by themselves, however many rows the table has.
READ_HELD = Prepared(
    "read_held",
    """
SELECT u.id, held.quantity FROM unnest(%(user_ids)s::bigint[]) AS u (id)
CROSS JOIN LATERAL (
    SELECT sum(quantity)::int AS quantity FROM ticket_purchases
    WHERE user_id = u.id AND ticket_type_id = %(ticket_type_id)s AND status = 'confirmed'
    OFFSET 0) held
WHERE held.quantity IS NOT NULL
""",
)

# The rows are found by their places, which nobody can change meanwhile: only the holder of the lock
# updates queued rows. No index is asked, not even that of the ids (such a comparison has no use for
# one), and no plan can walk the whole queue for a few of them.
# The counter moves by what was found: were a row missing, the counter's own guard would refuse it.
WRITE = Prepared(
    "write_decisions",
    """
WITH decided AS (
    UPDATE ticket_purchases p
    SET status = CASE WHEN d.reason IS NULL THEN 'confirmed' ELSE 'rejected' END,
        reason = d.reason, decided_at = %(decided_at)s::timestamptz,
        decision_number = %(decisions)s::bigint + d.nth, left_after = d.left_after
    FROM unnest(%(places)s::tid[], %(ids)s::uuid[], %(reasons)s::text[], %(lefts)s::int[])
    WITH ORDINALITY AS d (place, id, reason, left_after, nth)
    WHERE p.ctid = d.place AND p.id IS NOT DISTINCT FROM d.id AND p.decision_number IS NULL
    RETURNING 1
), recorded AS (
    INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by,
                                  decided_at)
    VALUES (%(ticket_type_id)s, %(decisions)s::bigint + 1, %(decisions)s::bigint + %(rows)s,
            %(seen)s, %(decided_by)s, %(decided_at)s::timestamptz)
)
UPDATE ticket_inventory
SET sold = sold + %(sold)s, decisions = decisions + (SELECT count(*) FROM decided)
WHERE ticket_type_id = %(ticket_type_id)s
""",
)

# The rule of a sold-out ticket type, without a round trip: nothing fits any more.
CLOSE_SOLD_OUT = Prepared(
    "close_sold_out",
    f"""
WITH closed AS (
    UPDATE ticket_purchases p
    SET status = 'rejected', reason = '{NOT_ENOUGH_TICKETS}',
        decided_at = greatest(now(), q.latest),
        decision_number = %(decisions)s::bigint + q.nth, left_after = 0
    FROM (SELECT place, row_number() OVER (ORDER BY seq) AS nth, max(created_at) OVER () AS latest
          FROM (SELECT ctid AS place, seq, created_at FROM ticket_purchases
                WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
                ORDER BY seq LIMIT %(rows)s) oldest) q
    WHERE p.ctid = q.place
    RETURNING p.*
), recorded AS (
    INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by,
                                  decided_at)
    SELECT %(ticket_type_id)s, min(decision_number), max(decision_number), pg_current_snapshot(),
           %(decided_by)s, max(decided_at)
    FROM closed HAVING count(*) > 0
), counted AS (
    UPDATE ticket_inventory SET decisions = decisions + (SELECT count(*) FROM closed)
    WHERE ticket_type_id = %(ticket_type_id)s
)
SELECT id::text, user_id, quantity, user_limit, unit_price::text, {as_time("created_at")},
       request_id, {as_time("decided_at")}
FROM closed ORDER BY decision_number
""",
)

# In this form the planner takes the queue's index; of EXISTS it may make a scan of the whole table.
HAS_QUEUED = Prepared(
    "has_queued",
    """
SELECT 1 FROM ticket_purchases
WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued' ORDER BY seq LIMIT 1
""",
)

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

# One row of an answer.
Row = tuple[Any, ...]


class Locked(msgspec.Struct, frozen=True):
    """A ticket type whose inventory row this transaction has locked.

    `now`: when the transaction began, as clients read it.
    """

    ticket_type_id: int
    inventory: Inventory
    event_id: int
    now: str


class QueuedRow(msgspec.Struct, frozen=True, gc=False):
    """A queued request with what its result will tell, written as clients read it."""

    request: Request
    unit_price: str
    created_at: str
    request_id: str | None


class Queue(msgspec.Struct, frozen=True):
    """The oldest queued requests, and which transactions were visible when they were read.

    `places`: where in the table each row lies; good until the transaction ends.
    """

    rows: list[QueuedRow]
    places: list[str]
    seen: str


def begin(cursor: cursor, ticket_type_id: int) -> Locked | None:
    """Begin a transaction that locks the counter; None when another holds it or it is gone."""
    lock = LOCK_INVENTORY.bind(cursor, {"ticket_type_id": ticket_type_id})
    cursor.execute(b"BEGIN; " + lock)
    row = cursor.fetchone()
    if row is None:
        roll_back(cursor)
        return None
    left, decisions, event_id, now = row
    return Locked(ticket_type_id, Inventory(left, decisions), event_id, now)


def read_queue(cursor: cursor, ticket_type_id: int, rows: int) -> Queue:
    """The oldest queued requests in the order of acceptance; call it under the lock."""
    READ_QUEUE.run(cursor, {"ticket_type_id": ticket_type_id, "rows": rows})
    found = cursor.fetchall()
    return Queue([_queued(row) for row in found], [row[7] for row in found], _first(found, 8))


def read_held(cursor: cursor, ticket_type_id: int, user_ids: Iterable[int]) -> dict[int, int]:
    """Tickets of this type that each of the users holds."""
    READ_HELD.run(cursor, {"ticket_type_id": ticket_type_id, "user_ids": array_literal(user_ids)})
    return dict(cursor.fetchall())


def write_and_commit(
    cursor: cursor,
    locked: Locked,
    queue: Queue,
    decided: Decided,
    *,
    decided_at: str,
    decided_by: str,
) -> bool:
    """Give each request of the queue its outcome; returns whether more is queued by now.

    Raises:
        psycopg2.IntegrityError: a request was no longer queued, which the lock makes impossible.
    """
    write = WRITE.bind(
        cursor,
        {
            "ticket_type_id": locked.ticket_type_id,
            "places": array_literal(queue.places),
            "ids": array_literal(row.request.id for row in queue.rows),
            "reasons": array_literal(d.reason for d in decided.decisions),
            "lefts": array_literal(d.left_after for d in decided.decisions),
            "rows": len(queue.rows),
            "seen": queue.seen,
            "decided_by": decided_by,
            "decided_at": decided_at,
            "decisions": locked.inventory.decisions,
            "sold": locked.inventory.left - decided.inventory.left,
        },
    )
    return _end(cursor, locked.ticket_type_id, write, b"COMMIT")


def close_sold_out(
    cursor: cursor, locked: Locked, *, rows: int, decided_by: str
) -> tuple[list[QueuedRow], str]:
    """Reject the oldest queued requests of a sold-out ticket type.

    Returns them in the order of acceptance, and when they were decided.
    """
    CLOSE_SOLD_OUT.run(
        cursor,
        {
            "ticket_type_id": locked.ticket_type_id,
            "rows": rows,
            "decisions": locked.inventory.decisions,
            "decided_by": decided_by,
        },
    )
    closed = cursor.fetchall()
    return [_queued(row) for row in closed], _first(closed, 7)


def commit(cursor: cursor, ticket_type_id: int) -> bool:
    """Commit; returns whether more is queued by now."""
    return _end(cursor, ticket_type_id, b"COMMIT")


def leave(cursor: cursor, ticket_type_id: int) -> bool:
    """End a transaction that has nothing to write; returns whether more is queued by now."""
    return _end(cursor, ticket_type_id, b"ROLLBACK")


def has_queued(cursor: cursor, ticket_type_id: int) -> bool:
    HAS_QUEUED.run(cursor, {"ticket_type_id": ticket_type_id})
    return cursor.fetchone() is not None


def queued_too_long(cursor: cursor, seconds: float) -> list[int]:
    """Ticket types with a request that was accepted longer ago than that; the oldest first."""
    cursor.execute(QUEUED_TOO_LONG, {"seconds": seconds})
    return [row[0] for row in cursor.fetchall()]


def _end(cursor: cursor, ticket_type_id: int, *ending: bytes) -> bool:
    """The look comes last, when the lock is free again: see drain.py."""
    look = HAS_QUEUED.bind(cursor, {"ticket_type_id": ticket_type_id})
    cursor.execute(b"; ".join((*ending, look)))
    return cursor.fetchone() is not None


def _queued(row: Row) -> QueuedRow:
    id_, user_id, quantity, user_limit, unit_price, created_at, request_id, *_ = row
    return QueuedRow(
        Request(id_, user_id, quantity, user_limit), unit_price, created_at, request_id
    )


def _first(rows: list[Row], column: int) -> str:
    return rows[0][column] if rows else ""
