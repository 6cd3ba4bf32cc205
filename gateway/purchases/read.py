"""The SQL that reads purchases, their positions in a lane, and the backlog."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import msgspec
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from shared.database.engine import statement
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal
from shared.errors import NotEnoughTickets
from shared.purchases import (
    QUEUED,
    Purchase,
    Short,
    StoredChange,
    StoredItem,
    as_time,
    purchase,
)
from shared.web.pagination import LIST_MAX_ROWS

# Writes a message of a few bytes into the log, once for a statement. A row may be seen that this
# server has alone: its commit's wait for the standby was cancelled, or the server crashed then. A
# session that publishes such a row commits something after it, and waits. A transaction id alone
# would not do: PostgreSQL waits at a commit only if its transaction wrote to the log.
WRITES_TO_LOG = "(SELECT pg_logical_emit_message(true, 'eventify', '')) IS NOT NULL"

# A published outcome never changes: where there is a standby, it has it before any client.
KEPT_OUTCOMES = f"""
(e.number IS NULL OR current_setting('synchronous_standby_names') = '' OR {WRITES_TO_LOG})
"""

# A purchase with the entry that answers it, if there is one. The batch of an entry is the last that
# begins at its number or before.
FOUND = f"""
SELECT r.id::text, r.user_id, r.event_id, r.seq, r.ticket_type_id, r.quantity, r.unit_price::text,
       r.items::text, r.currency, {as_time("r.created_at")}, e.kind::text, e.reason::text,
       e.left_after, e.items::text, {as_time("batch.at")}
FROM requests r
LEFT JOIN LATERAL (SELECT * FROM ledger WHERE event_id = r.event_id AND command_id = r.id
                   OFFSET 0) e ON true
LEFT JOIN LATERAL (SELECT at FROM batches WHERE event_id = r.event_id AND first_number <= e.number
                   ORDER BY first_number DESC LIMIT 1) batch ON true
"""

READ = Prepared(
    "read", f"{FOUND} WHERE r.id = ANY(%(ids)s::uuid[]) AND r.kind = 'buy' AND {KEPT_OUTCOMES}"
)

OF_USER = """
WHERE r.user_id = %(user_id)s AND r.kind = 'buy'
  AND (%(ticket_type_id)s IS NULL OR r.ticket_type_id = %(ticket_type_id)s
       OR r.items @> jsonb_build_array(jsonb_build_object('ticket_type', %(ticket_type_id)s)))
"""
OF_STATUS = "AND (%(status)s IS NULL OR coalesce(e.kind::text, 'queued') = %(status)s)"

# `LIST_MAX_ROWS` at most, however many a user has.
COUNT_OF_USER = f"""
SELECT count(*) FROM (SELECT FROM requests r {OF_USER} LIMIT {LIST_MAX_ROWS}) counted
"""
# Looks up the entry of each: ten times as long.
COUNT_OF_STATUS = f"""
SELECT count(*) FROM (
    SELECT FROM requests r
    LEFT JOIN LATERAL (SELECT kind FROM ledger WHERE event_id = r.event_id AND command_id = r.id
                       OFFSET 0) e ON true
    {OF_USER} {OF_STATUS} LIMIT {LIST_MAX_ROWS}) counted
"""

LIST_OF_USER = f"""
{FOUND} {OF_USER} {OF_STATUS} AND {KEPT_OUTCOMES}
ORDER BY r.seq DESC LIMIT %(rows)s OFFSET %(offset)s
"""

# The oldest purchases of a queue, read from the lane's mark on: past the dead rows of those that
# were decided.
QUEUE = """
    SELECT seq FROM work_list WHERE event_id = {event_id} AND class = 1
        AND seq > (SELECT done_seq FROM lanes WHERE event_id = {event_id})
    ORDER BY seq LIMIT {rows}
"""

HEAD_OF_QUEUE = Prepared(
    "head_of_queue",
    f"""
SELECT coalesce(array_agg(seq ORDER BY seq), '{{}}')
FROM ({QUEUE.format(event_id="%(event_id)s", rows="%(rows)s")}) oldest
""",
)

DECIDED_AMONG = """
SELECT r.id::text FROM requests r
JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
WHERE r.id = ANY(%(ids)s::uuid[])
"""

QUEUED_NOW = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT count(*),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
        FROM oldest)
FROM (SELECT FROM work_list WHERE class = 1 LIMIT %(rows)s) counted
"""


_items = msgspec.json.Decoder(list[StoredItem])
_changes = msgspec.json.Decoder(list[StoredChange])


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
        count_of = COUNT_OF_USER if wanted.status is None else COUNT_OF_STATUS
        cursor.execute(count_of, parameters)
        row = cursor.fetchone()
        count = int(row[0]) if row else 0
        cursor.execute(LIST_OF_USER, parameters | {"rows": rows, "offset": offset_of(count)})
        return count, _all_found(cursor, position_max_rows)


def _all_found(cursor: cursor, position_max_rows: int) -> list[Found]:
    rows = [_Row(*row) for row in cursor.fetchall()]
    queued = {row.event_id for row in rows if row.kind is None}
    heads = _heads_of_queues(cursor, queued, position_max_rows)
    return [_found(row, heads) for row in rows]


def _heads_of_queues(cursor: cursor, event_ids: Iterable[int], rows: int) -> dict[int, list[int]]:
    """The oldest sequence numbers of each queue: one short index scan serves a batch of polls."""
    heads = {}
    for event_id in event_ids:
        HEAD_OF_QUEUE.run(cursor, {"event_id": event_id, "rows": rows})
        (heads[event_id],) = cursor.fetchone() or ([],)
    return heads


class _Row(msgspec.Struct, gc=False):
    """The columns of `FOUND`."""

    id: str
    user_id: int
    event_id: int
    seq: int
    ticket_type_id: int | None
    quantity: int | None
    unit_price: str | None
    items: str | None
    currency: str
    created_at: str
    kind: str | None
    reason: str | None
    left_after: int | None
    changes: str | None
    decided_at: str | None


def _found(row: _Row, heads: dict[int, list[int]]) -> Found:
    lines = _lines(row)
    body = purchase(
        lines,
        id=row.id,
        event=row.event_id,
        currency=row.currency,
        created_at=row.created_at,
        status=row.kind or QUEUED,
        reason=row.reason,
        decided_at=row.decided_at,
        short=_short(row, lines) if row.reason == NotEnoughTickets.code else None,
    )
    position = position_in(heads[row.event_id], row.seq) if row.kind is None else None
    return Found(row.user_id, body, position)


def _lines(row: _Row) -> list[tuple[int, int, str]]:
    """Ticket type, quantity and unit price of each."""
    if row.items is not None:
        return [(i.ticket_type, i.quantity, i.unit_price) for i in _items.decode(row.items)]
    assert row.ticket_type_id is not None
    assert row.quantity is not None
    assert row.unit_price is not None
    return [(row.ticket_type_id, row.quantity, row.unit_price)]


def _short(row: _Row, lines: list[tuple[int, int, str]]) -> list[Short]:
    lefts = (
        [row.left_after or 0]
        if row.changes is None
        else [change.left_after for change in _changes.decode(row.changes)]
    )
    return [
        Short(ticket_type, quantity, left)
        for (ticket_type, quantity, _price), left in zip(lines, lefts, strict=True)
        if quantity > left
    ]


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
