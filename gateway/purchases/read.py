"""The SQL that reads purchases, their positions in a lane, and the backlog."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from shared.database.confirmed_commit import KEPT
from shared.database.engine import statement
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal, plain_array
from shared.errors import AllHeld, NotEnoughTickets
from shared.purchases import (
    QUEUED,
    Purchase,
    Short,
    StoredChange,
    StoredItem,
    as_time,
    held,
    purchase,
    resolved,
)
from shared.web.pagination import LIST_MAX_ROWS

# A published outcome never changes: where there is a standby, it has it before any client.
KEPT_OUTCOMES = f"(e.number IS NULL OR {KEPT})"

# The entry that answers a purchase, if there is one. Of one that was not rejected the newest entry
# after it: when it was written, the payment of an earlier hold, and how many are cancelled, in all
# and of each ticket type.
ENTRIES = """
LEFT JOIN LATERAL (SELECT * FROM ledger WHERE event_id = r.event_id AND command_id = r.id
                   OFFSET 0) e ON true
LEFT JOIN LATERAL (
    SELECT newest.kind, batch.at, paid.payment_reference, cancelled.quantity AS cancelled,
           cancelled.of_types
    FROM (SELECT number, kind FROM ledger
          WHERE event_id = r.event_id AND purchase_id = r.id AND e.kind IN ('held', 'confirmed')
          ORDER BY number DESC LIMIT 1) newest
    LEFT JOIN LATERAL (SELECT at FROM batches
                       WHERE event_id = r.event_id AND first_number <= newest.number
                       ORDER BY first_number DESC LIMIT 1) batch ON true
    LEFT JOIN LATERAL (SELECT command.payment_reference
                       FROM ledger c CROSS JOIN LATERAL (
                           SELECT payment_reference FROM requests WHERE id = c.command_id OFFSET 0
                       ) command
                       WHERE newest.kind IN ('confirmed', 'cancelled') AND e.kind = 'held'
                           AND c.event_id = r.event_id AND c.purchase_id = r.id
                           AND c.kind = 'confirmed' LIMIT 1) paid ON true
    LEFT JOIN LATERAL (SELECT sum(line.quantity)::int AS quantity,
                              jsonb_object_agg(line.ticket_type, line.quantity) AS of_types
                       FROM (SELECT item->>'ticket_type' AS ticket_type,
                                    sum((item->>'quantity')::int) AS quantity
                             FROM ledger c, jsonb_array_elements(c.items) item
                             WHERE newest.kind = 'cancelled' AND c.event_id = r.event_id
                                 AND c.purchase_id = r.id AND c.kind = 'cancelled'
                             GROUP BY 1) line) cancelled ON true
    OFFSET 0) later ON true
"""
STATUS = """
(CASE WHEN later.kind IS NULL THEN coalesce(e.kind::text, 'queued')
      WHEN later.kind = 'cancelled' AND later.cancelled < coalesce(r.quantity, (
          SELECT sum((line->>'quantity')::int) FROM jsonb_array_elements(r.items) line))
      THEN 'confirmed'
      ELSE later.kind::text END)
"""


def found_of(purchases: str) -> str:
    """The columns of `_Row` of each purchase. Nothing of a hold is looked up where there is none.

    The batch of an entry is the last that begins at its number or before.

    Args:
        purchases: a table of requests.
    """
    return f"""
SELECT r.id::text, r.user_id, r.event_id, r.seq, r.ticket_type_id, r.quantity, r.unit_price::text,
       r.items::text, r.currency, {as_time("r.created_at")}, {STATUS}, e.reason::text,
       e.left_after, e.items::text, {as_time("batch.at")}, {as_time("hold.ends_at")},
       greatest(0, floor(extract(epoch FROM hold.ends_at - clock_timestamp())))::int,
       {as_time("later.at")}, later.payment_reference, later.of_types::text, r.buyer
FROM {purchases} r
{ENTRIES}
LEFT JOIN LATERAL (SELECT at FROM batches WHERE event_id = r.event_id AND first_number <= e.number
                   ORDER BY first_number DESC LIMIT 1) batch ON true
LEFT JOIN LATERAL (SELECT h.ends_at + make_interval(secs => l.extended_seconds) AS ends_at
                   FROM holds h, lanes l
                   WHERE e.kind = 'held' AND h.event_id = r.event_id AND h.purchase_id = r.id
                       AND l.event_id = r.event_id LIMIT 1) hold ON true
"""


READ = Prepared(
    "read",
    f"{found_of('requests')}"
    f" WHERE r.id = ANY(%(ids)s::uuid[]) AND r.kind = 'buy' AND {KEPT_OUTCOMES}",
)

# Who is not the buyer may be the event's owner.
OWNED = Prepared(
    "owned",
    """
SELECT asked.id::text, asked.user_id
FROM unnest(%(ids)s::uuid[], %(user_ids)s::bigint[]) AS asked (id, user_id)
CROSS JOIN LATERAL (SELECT event_id FROM requests WHERE id = asked.id OFFSET 0) r
CROSS JOIN LATERAL (SELECT owner_id FROM events WHERE id = r.event_id OFFSET 0) e
WHERE e.owner_id = asked.user_id
""",
)

OF_TYPE = """
(%(ticket_type_id)s IS NULL OR r.ticket_type_id = %(ticket_type_id)s
 OR r.items @> jsonb_build_array(jsonb_build_object('ticket_type', %(ticket_type_id)s)))
"""
OF_BUYER = "AND buyer = %(buyer)s AND buyer <> ''"

# Requests that a list looks at where its filter leaves most of them out, and needs the entries of
# each: 0.1 s at worst, and by page twice that, for the count.
FILTERED_ROWS: Final = 10_000


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

NUMBERS_OF = """
SELECT event_id, number FROM lanes WHERE event_id = ANY(%(event_ids)s)
"""

QUEUED_NOW = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT count(*),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
        FROM oldest)
FROM (SELECT FROM work_list WHERE class = 1 LIMIT %(rows)s) counted
"""


SHORT_REASONS = (NotEnoughTickets.code, AllHeld.code)

_items = msgspec.json.Decoder(list[StoredItem])
_changes = msgspec.json.Decoder(list[StoredChange])
_cancelled = msgspec.json.Decoder(dict[int, int])


class Found(msgspec.Struct, frozen=True):
    """A purchase as stored. `position`: the requests ahead of it; None once it is decided."""

    user_id: int
    purchase: Purchase
    position: int | None


class Filter(msgspec.Struct, frozen=True):
    """Which purchases of a user, or for its owner of an event; None: all."""

    user_id: int
    status: str | None = None
    ticket_type_id: int | None = None
    buyer: str | None = None
    event_id: int | None = None
    payment_reference: str | None = None


def read(engine: Engine, ids: Sequence[str], *, position_max_rows: int) -> dict[str, Found]:
    """The purchases with these ids; positions are exact up to `position_max_rows`.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    with statement(engine) as cursor:
        return read_on(cursor, ids, position_max_rows=position_max_rows)


def read_on(cursor: cursor, ids: Sequence[str], *, position_max_rows: int) -> dict[str, Found]:
    READ.run(cursor, {"ids": array_literal(ids)})
    found = all_found(cursor, cursor.fetchall(), position_max_rows)
    return {row.purchase.id: row for row in found}


def owned(engine: Engine, asked: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Of purchases and users those where the user owns the purchase's event.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    with statement(engine) as cursor:
        ids = [id_ for id_, _user in asked]
        user_ids = plain_array(user for _id, user in asked)
        OWNED.run(cursor, {"ids": array_literal(ids), "user_ids": user_ids})
        return set(cursor.fetchall())


def _statements(wanted: Filter) -> tuple[str, str]:
    """Counts the purchases, and reads a page of them."""
    # The rows are limited before the filter: one that fits few would read all that a user has.
    listed = f"""
    FROM (SELECT * FROM requests
          WHERE user_id = %(user_id)s {"" if wanted.buyer is None else OF_BUYER}
          ORDER BY seq DESC LIMIT {LIST_MAX_ROWS if wanted.status is None else FILTERED_ROWS}) r
    {"" if wanted.status is None else ENTRIES}
    WHERE r.kind = 'buy' AND {OF_TYPE}
        {"" if wanted.status is None else f"AND {STATUS} = %(status)s"}
    """
    page = f"(SELECT r.* {listed} ORDER BY r.seq DESC LIMIT %(rows)s OFFSET %(offset)s)"
    return (
        f"SELECT count(*) {listed}",
        f"{found_of(page)} WHERE {KEPT_OUTCOMES} ORDER BY r.seq DESC",
    )


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
    count_of, page_of = _statements(wanted)
    with statement(engine) as cursor:
        cursor.execute(count_of, parameters)
        row = cursor.fetchone()
        count = int(row[0]) if row else 0
        cursor.execute(page_of, parameters | {"rows": rows, "offset": offset_of(count)})
        return count, all_found(cursor, cursor.fetchall(), position_max_rows)


def all_found(
    cursor: cursor, columns: Iterable[Sequence[Any]], position_max_rows: int
) -> list[Found]:
    """From the columns of `found_of` of each."""
    rows = [_Row(*row) for row in columns]
    queued = {row.event_id for row in rows if row.status == QUEUED}
    heads = _heads_of_queues(cursor, queued, position_max_rows)
    return [
        Found(
            row.user_id,
            _purchase(row),
            position_in(heads[row.event_id], row.seq) if row.status == QUEUED else None,
        )
        for row in rows
    ]


def purchase_of(columns: Sequence[Any]) -> Purchase:
    """From the columns of `found_of`."""
    return _purchase(_Row(*columns))


def _heads_of_queues(cursor: cursor, event_ids: Iterable[int], rows: int) -> dict[int, list[int]]:
    """The oldest sequence numbers of each queue: one short index scan serves a batch of polls."""
    heads = {}
    for event_id in event_ids:
        HEAD_OF_QUEUE.run(cursor, {"event_id": event_id, "rows": rows})
        (heads[event_id],) = cursor.fetchone() or ([],)
    return heads


class _Row(msgspec.Struct, gc=False):
    """The columns of `found_of`."""

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
    status: str
    reason: str | None
    left_after: int | None
    changes: str | None
    decided_at: str | None
    held_until: str | None
    seconds_left: int | None
    resolved_at: str | None
    payment_reference: str | None
    cancelled: str | None
    buyer: str


def _purchase(row: _Row) -> Purchase:
    lines = _lines(row)
    body = purchase(
        lines,
        id=row.id,
        event=row.event_id,
        currency=row.currency,
        created_at=row.created_at,
        status=row.status,
        reason=row.reason,
        decided_at=row.decided_at,
        short=_short(row, lines) if row.reason in SHORT_REASONS else None,
        buyer=row.buyer,
    )
    if row.held_until is not None and row.seconds_left is not None:
        return held(body, row.held_until, row.seconds_left)
    if row.resolved_at is not None:
        cancelled = _cancelled.decode(row.cancelled or "{}")
        return resolved(body, row.resolved_at, row.payment_reference, cancelled)
    return body


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


def numbers_of(engine: Engine, event_ids: Sequence[int]) -> dict[int, int]:
    """The number of the newest entry of each event."""
    with statement(engine) as cursor:
        cursor.execute(NUMBERS_OF, {"event_ids": list(event_ids)})
        return dict(cursor.fetchall())


def queued_now(engine: Engine, at_most: int) -> tuple[int, float]:
    """The queued purchases, counted up to a limit, and the age of the oldest in seconds."""
    with statement(engine) as cursor:
        cursor.execute(QUEUED_NOW, {"rows": at_most})
        ((queued, oldest_seconds),) = cursor.fetchall()
    return queued, max(0.0, oldest_seconds)
