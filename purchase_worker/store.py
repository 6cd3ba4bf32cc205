"""The worker's SQL: lock the counters, read the queues, write the outcomes.

A batch of any number of ticket types takes three round trips, and one more where users have limits:
BEGIN is sent with the locks, COMMIT with the writes and the read of what was queued meanwhile. The
queues are read by a statement of their own, which sees everything that was there when the locks
were taken.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from psycopg2.extensions import cursor

from purchase_worker.decision import NOT_ENOUGH_TICKETS, BatchDecisions, Inventory, Request
from shared.database.confirmed_commit import confirm
from shared.database.engine import roll_back
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal
from shared.purchases import as_time

# NO KEY: it does not conflict with the key-share locks of foreign keys. SKIP LOCKED: see drain.py.
LOCK_INVENTORIES = Prepared(
    "lock_inventories",
    f"""
SELECT i.ticket_type_id, i.issued - i.sold, i.decisions, {as_time("now()")},
       (SELECT event_id FROM ticket_types WHERE id = i.ticket_type_id)
FROM ticket_inventory i WHERE i.ticket_type_id = ANY(%(ticket_type_ids)s::bigint[])
FOR NO KEY UPDATE OF i SKIP LOCKED
""",
)

# Read after the locks were taken, so every row that was visible before is seen, in order.
READ_QUEUES = Prepared(
    "read_queues",
    f"""
SELECT q.id::text, user_id, quantity, user_limit, unit_price::text, {as_time("created_at")},
       request_id, w.id, row_ctid::text, (SELECT pg_current_snapshot()::text)
FROM unnest(%(ticket_type_ids)s::bigint[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT *, ctid AS row_ctid FROM ticket_purchases
    WHERE ticket_type_id = w.id AND status = 'queued'
    ORDER BY seq LIMIT %(rows)s) q
ORDER BY w.id, seq
""",
)

# OFFSET 0 makes the planner look up each user's purchases by index, however large the table is.
READ_HELD = Prepared(
    "read_held",
    """
SELECT u.ticket_type_id, u.id, held.quantity
FROM unnest(%(ticket_type_ids)s::bigint[], %(user_ids)s::bigint[]) AS u (ticket_type_id, id)
CROSS JOIN LATERAL (
    SELECT sum(quantity)::int AS quantity FROM ticket_purchases
    WHERE user_id = u.id AND ticket_type_id = u.ticket_type_id AND status = 'confirmed'
    OFFSET 0) held
WHERE held.quantity IS NOT NULL
""",
)

# The rows are found by their ctids, which cannot change meanwhile: only the holder of the lock
# updates queued rows. No index serves IS TRUE, so no plan can scan a whole queue for a few of them.
# The counters are joined with nothing, so that they are found by their index alone. A counter moves
# by the number of rows found: if one were missing, the counter's own guard would raise.
WRITE = Prepared(
    "write_decisions",
    """
WITH parts AS (
    SELECT * FROM unnest(%(ticket_type_ids)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[],
                         %(solds)s::int[]) AS t (ticket_type_id, first_number, last_number, sold)
), decided AS (
    UPDATE ticket_purchases p
    SET status = CASE WHEN d.reason IS NULL THEN 'confirmed' ELSE 'rejected' END,
        reason = d.reason, decided_at = %(decided_at)s::timestamptz,
        decision_number = d.number, left_after = d.left_after
    FROM unnest(%(ctids)s::tid[], %(ids)s::uuid[], %(numbers)s::bigint[], %(reasons)s::text[],
                %(lefts)s::int[]) AS d (row_ctid, id, number, reason, left_after)
    WHERE p.ctid = d.row_ctid AND (p.id = d.id) IS TRUE AND p.decision_number IS NULL
    RETURNING p.ticket_type_id
), counted AS MATERIALIZED (
    SELECT ticket_type_id, count(*) AS found FROM decided GROUP BY ticket_type_id
), recorded AS (
    INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by,
                                  decided_at)
    SELECT ticket_type_id, first_number, last_number, %(seen)s::pg_snapshot, %(decided_by)s,
           %(decided_at)s::timestamptz
    FROM parts
)
UPDATE ticket_inventory i
SET sold = sold + (SELECT sold FROM parts WHERE ticket_type_id = i.ticket_type_id),
    decisions = decisions + (SELECT found FROM counted WHERE ticket_type_id = i.ticket_type_id)
WHERE ticket_type_id = ANY(%(ticket_type_ids)s::bigint[])
""",
)

# The rule for a sold-out ticket type, without a round trip: nothing fits any more.
CLOSE_SOLD_OUT = Prepared(
    "close_sold_out",
    f"""
WITH closed AS (
    UPDATE ticket_purchases p
    SET status = 'rejected', reason = '{NOT_ENOUGH_TICKETS}',
        decided_at = greatest(now(), q.latest),
        decision_number = %(decisions)s::bigint + q.nth, left_after = 0
    FROM (SELECT row_ctid, row_number() OVER (ORDER BY seq) AS nth,
                 max(created_at) OVER () AS latest
          FROM (SELECT ctid AS row_ctid, seq, created_at FROM ticket_purchases
                WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
                ORDER BY seq LIMIT %(rows)s) oldest) q
    WHERE p.ctid = q.row_ctid
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

# Only where tracing is on, so that others read one column less.
READ_TRACEPARENTS = Prepared(
    "read_traceparents",
    """
SELECT id::text, traceparent FROM ticket_purchases
WHERE id = ANY(%(ids)s::uuid[]) AND traceparent IS NOT NULL
""",
)

# In this form the planner uses the queue's index; EXISTS may become a scan of the whole table.
QUEUED_AMONG = Prepared(
    "queued_among",
    """
SELECT w.id FROM unnest(%(ticket_type_ids)s::bigint[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT FROM ticket_purchases
    WHERE ticket_type_id = w.id AND status = 'queued' ORDER BY seq LIMIT 1) q
""",
)

# A row of the future was accepted before the server's clock was set back, at an unknown time.
QUEUED_TOO_LONG = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT ticket_type_id FROM oldest
WHERE created_at < now() - make_interval(secs => %(seconds)s) OR created_at > clock_timestamp()
ORDER BY created_at
"""

Row = tuple[Any, ...]


class Locked(msgspec.Struct, frozen=True):
    """A ticket type whose inventory row this transaction has locked.

    `now`: when the transaction began, as clients read it.
    """

    ticket_type_id: int
    inventory: Inventory
    event_id: int
    now: str


class QueuedRequest(msgspec.Struct, frozen=True, gc=False):
    """A queued request with the rest of its result, as clients read it."""

    request: Request
    unit_price: str
    created_at: str
    request_id: str | None


class Queue(msgspec.Struct, frozen=True):
    """The oldest queued requests of a ticket type. `ctids`: valid until the transaction ends."""

    rows: list[QueuedRequest]
    ctids: list[str]


class Part(msgspec.Struct, frozen=True):
    """What a batch decides of one ticket type."""

    locked: Locked
    queue: Queue
    decided: BatchDecisions


def begin(cursor: cursor, ticket_type_ids: Iterable[int]) -> list[Locked]:
    """Begin a transaction and lock the counters, except those that another transaction holds.

    If none could be locked, the transaction is rolled back.
    """
    lock = LOCK_INVENTORIES.bind(cursor, {"ticket_type_ids": array_literal(ticket_type_ids)})
    cursor.execute(b"BEGIN; " + lock)
    found = cursor.fetchall()
    if not found:
        roll_back(cursor)
    return [
        Locked(id_, Inventory(left, decisions), event_id, now)
        for id_, left, decisions, now, event_id in found
    ]


def read_queues(
    cursor: cursor, ticket_type_ids: Iterable[int], rows: int
) -> tuple[dict[int, Queue], str]:
    """The oldest `rows` queued requests of each ticket type; call it under the locks.

    Returns them by ticket type, in the order of acceptance, and which transactions were visible.
    """
    parameters = {"ticket_type_ids": array_literal(ticket_type_ids), "rows": rows}
    READ_QUEUES.run(cursor, parameters)
    found = cursor.fetchall()
    queues = {}
    for id_, group in groupby(found, itemgetter(7)):
        own = list(group)
        queues[id_] = Queue([_queued(row) for row in own], [row[8] for row in own])
    return queues, _first(found, 9)


def read_held(cursor: cursor, who: Sequence[tuple[int, int]]) -> dict[int, dict[int, int]]:
    """Tickets held, by ticket type and user, for these pairs of both."""
    READ_HELD.run(
        cursor,
        {
            "ticket_type_ids": array_literal(ticket_type_id for ticket_type_id, _ in who),
            "user_ids": array_literal(user_id for _, user_id in who),
        },
    )
    held: dict[int, dict[int, int]] = {}
    for ticket_type_id, user_id, quantity in cursor.fetchall():
        held.setdefault(ticket_type_id, {})[user_id] = quantity
    return held


def write_and_commit(
    cursor: cursor,
    parts: Sequence[Part],
    *,
    seen: str,
    decided_at: str,
    decided_by: str,
    recheck: Iterable[int],
) -> list[int]:
    """Write the outcomes; returns which of `recheck` have queued requests after the commit.

    Raises:
        psycopg2.IntegrityError: a request was no longer queued, which the locks make impossible.
        CommitUnconfirmed: all is written, but a failover may undo it.
    """
    rows = [row for part in parts for row in part.queue.rows]
    decisions = [decision for part in parts for decision in part.decided.decisions]
    before = [part.locked.inventory for part in parts]
    after = [part.decided.inventory for part in parts]
    write = WRITE.bind(
        cursor,
        {
            "ticket_type_ids": array_literal(part.locked.ticket_type_id for part in parts),
            "firsts": array_literal(inventory.decisions + 1 for inventory in before),
            "lasts": array_literal(inventory.decisions for inventory in after),
            "solds": array_literal(b.left - a.left for b, a in zip(before, after, strict=True)),
            "ctids": array_literal(row_ctid for part in parts for row_ctid in part.queue.ctids),
            "ids": array_literal(row.request.id for row in rows),
            "numbers": array_literal(d.number for d in decisions),
            "reasons": array_literal(d.reason for d in decisions),
            "lefts": array_literal(d.left_after for d in decisions),
            "seen": seen,
            "decided_by": decided_by,
            "decided_at": decided_at,
        },
    )
    return _end(cursor, recheck, write, b"COMMIT")


def close_sold_out(
    cursor: cursor, locked: Locked, *, rows: int, decided_by: str
) -> tuple[list[QueuedRequest], str]:
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


def commit(cursor: cursor, recheck: Iterable[int]) -> list[int]:
    """Commit; returns and raises as `write_and_commit` does."""
    return _end(cursor, recheck, b"COMMIT")


def rollback_and_recheck(cursor: cursor, recheck: Iterable[int]) -> list[int]:
    """End a transaction that wrote nothing; returns as `commit` does."""
    return _end(cursor, recheck, b"ROLLBACK")


def queued_among(cursor: cursor, ticket_type_ids: Iterable[int]) -> list[int]:
    QUEUED_AMONG.run(cursor, {"ticket_type_ids": array_literal(ticket_type_ids)})
    return [row[0] for row in cursor.fetchall()]


def read_traceparents(cursor: cursor, ids: Iterable[str]) -> dict[str, str]:
    """The traceparents of the traced ones among these purchases."""
    READ_TRACEPARENTS.run(cursor, {"ids": array_literal(ids)})
    return dict(cursor.fetchall())


def queued_too_long(cursor: cursor, seconds: float) -> list[int]:
    """Ticket types with a request that has been queued for longer, the oldest first."""
    cursor.execute(QUEUED_TOO_LONG, {"seconds": seconds})
    return [row[0] for row in cursor.fetchall()]


def _end(cursor: cursor, recheck: Iterable[int], *ending: bytes) -> list[int]:
    """The queues are read last, when the locks are released: see drain.py."""
    read = QUEUED_AMONG.bind(cursor, {"ticket_type_ids": array_literal(recheck)})
    cursor.execute(b"; ".join((*ending, read)))
    confirm(cursor.connection)
    return [row[0] for row in cursor.fetchall()]


def _queued(row: Row) -> QueuedRequest:
    id_, user_id, quantity, user_limit, unit_price, created_at, request_id, *_ = row
    return QueuedRequest(
        Request(id_, user_id, quantity, user_limit), unit_price, created_at, request_id
    )


def _first(rows: list[Row], column: int) -> str:
    return rows[0][column] if rows else ""
