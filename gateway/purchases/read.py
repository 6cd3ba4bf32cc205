"""The SQL that reads purchases, their positions in a queue, and the backlog."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from shared.database.engine import statement
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal
from shared.purchases import QUEUED, Purchase, as_time
from shared.web.pagination import LIST_MAX_ROWS

# Writes a message of a few bytes into the log, once for a statement. A row may be seen that this
# server has alone: its commit's wait for the standby was cancelled, or the server crashed then. A
# session that publishes such a row commits something after it, and waits. A transaction id alone
# would not do: PostgreSQL waits at a commit only if its transaction wrote to the log.
WRITES_TO_LOG = "(SELECT pg_logical_emit_message(true, 'eventify', '')) IS NOT NULL"

# A published outcome never changes: where there is a standby, it has it before any client.
KEPT_OUTCOMES = f"""
(p.status = 'queued' OR current_setting('synchronous_standby_names') = '' OR {WRITES_TO_LOG})
"""

# Prices and times as the body of a purchase has them.
FOUND = f"""
SELECT p.id::text, p.user_id, p.seq, p.ticket_type_id, t.event_id, p.quantity, p.unit_price::text,
       (p.unit_price * p.quantity)::text, p.status, p.reason, {as_time("p.created_at")},
       {as_time("p.decided_at")}
FROM ticket_types t JOIN ticket_purchases p ON p.ticket_type_id = t.id
"""

TICKET_TYPE, STATUS = 3, 8  # columns of `FOUND`

READ = Prepared("read", FOUND + "WHERE p.id = ANY(%(ids)s::uuid[]) AND" + KEPT_OUTCOMES)

OF_USER = """
WHERE p.user_id = %(user_id)s
  AND (%(status)s IS NULL OR p.status = %(status)s)
  AND (%(ticket_type_id)s IS NULL OR p.ticket_type_id = %(ticket_type_id)s)
"""

# `LIST_MAX_ROWS` at most, however many a user has.
COUNT_OF_USER = f"""
SELECT count(*) FROM (SELECT FROM ticket_purchases p {OF_USER} LIMIT {LIST_MAX_ROWS}) counted
"""

LIST_OF_USER = f"""
{FOUND} {OF_USER} AND {KEPT_OUTCOMES} ORDER BY p.seq DESC LIMIT %(rows)s OFFSET %(offset)s
"""

HEAD_OF_QUEUE = Prepared(
    "head_of_queue",
    """
SELECT coalesce(array_agg(seq ORDER BY seq), '{}') FROM (
    SELECT seq FROM ticket_purchases
    WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
    ORDER BY seq LIMIT %(rows)s) oldest
""",
)

DECIDED_AMONG = """
SELECT id::text FROM ticket_purchases WHERE id = ANY(%(ids)s::uuid[]) AND status <> 'queued'
"""

QUEUED_NOW = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT count(*),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
        FROM oldest)
FROM (SELECT FROM ticket_purchases WHERE status = 'queued' LIMIT %(rows)s) counted
"""


class Found(msgspec.Struct, frozen=True):
    """A purchase as stored. `position`: the requests ahead of it; None once it is decided."""

    user_id: int
    purchase: Purchase
    position: int | None


class Filter(msgspec.Struct, frozen=True):
    """Which purchases of a user; None: all."""

    user_id: int
    status: str | None
    ticket_type_id: int | None


def read(engine: Engine, ids: Sequence[str], *, position_max_rows: int) -> dict[str, Found]:
    """The purchases with these ids; positions are exact up to `position_max_rows`.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    with statement(engine) as cursor:
        READ.run(cursor, {"ids": array_literal(ids)})
        found = _all_found(cursor, position_max_rows)
    return {row.purchase.id: row for row in found}


def list_of_user(
    engine: Engine,
    wanted: Filter,
    offset_of: Callable[[int], int],
    rows: int,
    *,
    position_max_rows: int,
) -> tuple[int, list[Found]]:
    """The number of purchases of a user, and one page of them, newest first.

    Args:
        engine: the database.
        wanted: which purchases.
        offset_of: gives the rows to skip before the page, for that number.
        rows: of a full page.
        position_max_rows: up to which positions are exact.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    parameters = msgspec.structs.asdict(wanted)
    with statement(engine) as cursor:
        cursor.execute(COUNT_OF_USER, parameters)
        row = cursor.fetchone()
        count = int(row[0]) if row else 0
        cursor.execute(LIST_OF_USER, parameters | {"rows": rows, "offset": offset_of(count)})
        return count, _all_found(cursor, position_max_rows)


def _all_found(cursor: cursor, position_max_rows: int) -> list[Found]:
    rows = cursor.fetchall()
    queued_types = {row[TICKET_TYPE] for row in rows if row[STATUS] == QUEUED}
    heads = _heads_of_queues(cursor, queued_types, position_max_rows)
    return [_found(row, heads) for row in rows]


def _heads_of_queues(
    cursor: cursor, ticket_type_ids: Iterable[int], rows: int
) -> dict[int, list[int]]:
    """The oldest sequence numbers of each queue: one short index scan serves a batch of polls."""
    heads = {}
    for ticket_type_id in ticket_type_ids:
        HEAD_OF_QUEUE.run(cursor, {"ticket_type_id": ticket_type_id, "rows": rows})
        (heads[ticket_type_id],) = cursor.fetchone() or ([],)
    return heads


def _found(row: tuple[Any, ...], heads: dict[int, list[int]]) -> Found:
    id_, user_id, seq, ticket_type, event, quantity, price, total, status, *outcome = row
    reason, created_at, decided_at = outcome
    purchase = Purchase(
        id=id_,
        ticket_type=ticket_type,
        event=event,
        quantity=quantity,
        unit_price=price,
        total_price=total,
        status=status,
        reason=reason,
        created_at=created_at,
        decided_at=decided_at,
    )
    position = position_in(heads[ticket_type], seq) if status == QUEUED else None
    return Found(user_id, purchase, position)


def position_in(head: Sequence[int], seq: int) -> int:
    """Requests ahead of `seq`, given the oldest sequence numbers of its queue."""
    if not head or seq <= head[-1]:
        return bisect_left(head, seq)
    return position_beyond(len(head), head[-1], seq)


def position_beyond(head_rows: int, last_seq: int, seq: int) -> int:
    """An upper estimate: sequence numbers are shared by all queues, and some are skipped."""
    return head_rows + seq - last_seq - 1


def decided_among(engine: Engine, ids: Sequence[str]) -> list[str]:
    with statement(engine) as cursor:
        cursor.execute(DECIDED_AMONG, {"ids": list(ids)})
        return [row[0] for row in cursor.fetchall()]


def queued_now(engine: Engine, at_most: int) -> tuple[int, float]:
    """The queued purchases, counted up to a limit, and the age of the oldest in seconds."""
    with statement(engine) as cursor:
        cursor.execute(QUEUED_NOW, {"rows": at_most})
        ((queued, oldest_seconds),) = cursor.fetchall()
    return queued, max(0.0, oldest_seconds)
