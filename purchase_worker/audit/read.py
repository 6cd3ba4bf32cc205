"""Reads what the audit replays, in short transactions: the sale may go on meanwhile.

Nobody waits for a reader. But while its transaction is open, PostgreSQL keeps every row version
that has died since, and those of the work list slow the reading of the queue: after 75,000
decisions beside an open snapshot, one look at it took 8 ms. The ledger only grows, so it is read in
parts, and only the last one together with what changes: lane, counters and work list.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, lower case there
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.rows import CounterRow, EntryRow, HoldRow, LaneRow, WaitingRow
from shared.database.session_settings import WITHOUT_TRANSACTION_TIMEOUT

Part = TypeVar("Part")
Row = TypeVar("Row")

# So a sale of millions needs no more memory than a small one.
ROWS_AT_A_TIME = 20_000

# Each row is looked up by its key (OFFSET 0), however large the tables are.
LOOK_UPS = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
# The lines of a purchase `p`, as a cart has them in `requests.items`.
LINES = """
    coalesce(p.items, jsonb_build_array(jsonb_build_object(
        'ticket_type', p.ticket_type_id, 'quantity', p.quantity,
        'unit_price', p.unit_price::text, 'user_limit', p.user_limit)))
"""
# An earlier purchase `p` as the entries before `e` left it, see `Earlier`.
EARLIER = f"""
    SELECT jsonb_build_object(
        'user_id', p.user_id, 'buyer', p.buyer, 'hold_seconds', p.hold_seconds,
        'currency', p.currency, 'number', answer.number, 'kind', answer.kind,
        'at', (SELECT extract(epoch FROM at)::float8 FROM batches
               WHERE event_id = p.event_id AND first_number <= answer.number
               ORDER BY first_number DESC LIMIT 1),
        'items', {LINES},
        'entries', (
            SELECT coalesce(jsonb_agg(jsonb_build_array(
                kind, (SELECT payment_reference FROM requests WHERE id = command_id), items
                ) ORDER BY number), '[]')
            FROM ledger WHERE event_id = p.event_id AND purchase_id = p.id AND number < e.number))
    FROM (SELECT * FROM requests WHERE id = r.purchase_id AND event_id = r.event_id OFFSET 0) p
    LEFT JOIN LATERAL (
        SELECT number, kind FROM ledger
        WHERE event_id = p.event_id AND command_id = p.id AND number < e.number OFFSET 0
    ) answer ON true
"""
# Another purchase that the same payment confirmed, of any event.
PAID_TOO = """
    SELECT other.purchase_id FROM requests other
    WHERE other.user_id = r.user_id AND other.payment_reference = r.payment_reference
      AND other.purchase_id <> r.purchase_id
      AND EXISTS (SELECT FROM ledger WHERE event_id = other.event_id AND command_id = other.id
                      AND kind = 'confirmed' OFFSET 0)
    LIMIT 1
"""
# See `Terms`: nothing for most.
TERMS = f"""
    CASE WHEN r.hold_seconds IS NOT NULL OR r.buyer <> '' OR r.purchase_id IS NOT NULL
           OR e.purchase_id IS NOT NULL
         THEN jsonb_build_object(
             'buyer', coalesce(r.buyer, ''), 'hold_seconds', r.hold_seconds,
             'purchase_id', r.purchase_id, 'changed', e.purchase_id,
             'payment_reference', r.payment_reference, 'amount', r.amount::text,
             'currency', r.currency, 'restock', r.restock,
             'purchase', CASE WHEN r.purchase_id IS NOT NULL THEN ({EARLIER}) END,
             'paid_too', CASE WHEN r.payment_reference IS NOT NULL THEN ({PAID_TOO}) END)::text END
"""
# Of an entry `e` and its request `r`, as `EntryRow` has them.
ENTRY = f"""
    e.number, e.kind, e.reason, e.ticket_type_id, coalesce(e.change, 0), coalesce(e.left_after, 0),
    e.items::text, e.command_id::text, r.seq, r.accepted_xid::text::bigint,
    extract(epoch FROM r.created_at)::float8, r.kind, r.user_id, r.ticket_type_id,
    coalesce(r.quantity, 0), r.user_limit, r.event_user_limit, r.items::text, {TERMS}
"""
READ_ENTRIES = f"""
SELECT {ENTRY}
FROM (SELECT * FROM ledger WHERE event_id = %(event)s AND number > %(after)s
      ORDER BY number LIMIT %(rows)s) e
LEFT JOIN LATERAL (SELECT * FROM requests
                   WHERE id = e.command_id AND event_id = e.event_id OFFSET 0) r ON true
ORDER BY e.number
"""
READ_BATCHES = """
SELECT first_number, last_number, extract(epoch FROM at)::float8, seen::text, ticket_type_id,
       locked_lanes IS NOT NULL
FROM batches WHERE event_id = %(event)s AND first_number > %(after)s
  AND (%(last)s::bigint IS NULL OR first_number <= %(last)s)
ORDER BY first_number
"""
READ_LANE = """
SELECT number, extract(epoch FROM at)::float8, done_seq, extended_seconds
FROM lanes WHERE event_id = %(event)s
"""
READ_COUNTERS = """
SELECT coalesce(t.id, c.ticket_type_id), t.id IS NOT NULL, c.issued, c.held, c.sold
FROM (SELECT id FROM ticket_types WHERE event_id = %(event)s) t
FULL JOIN (SELECT * FROM counters WHERE event_id = %(event)s) c ON c.ticket_type_id = t.id
"""
READ_WAITING = """
SELECT w.command_id::text, w.class, w.seq,
       r.seq = w.seq AND w.class = CASE r.kind WHEN 'buy' THEN 1 ELSE 0 END, e.number,
       r.accepted_xid::text::bigint, coalesce(extract(epoch FROM now() - r.created_at)::float8, 0)
FROM work_list w
LEFT JOIN LATERAL (SELECT * FROM requests
                   WHERE id = w.command_id AND event_id = w.event_id OFFSET 0) r ON true
LEFT JOIN LATERAL (SELECT number FROM ledger
                   WHERE event_id = w.event_id AND command_id = w.command_id OFFSET 0) e ON true
WHERE w.event_id = %(event)s ORDER BY w.class, w.seq
"""
READ_HOLDS = """
SELECT h.purchase_id::text, answer.number, answer.kind, ended.number,
       extract(epoch FROM h.ends_at - b.at)::float8 - r.hold_seconds
FROM holds h
LEFT JOIN LATERAL (SELECT * FROM requests
                   WHERE id = h.purchase_id AND event_id = h.event_id OFFSET 0) r ON true
LEFT JOIN LATERAL (SELECT number, kind FROM ledger
                   WHERE event_id = h.event_id AND command_id = h.purchase_id OFFSET 0
                  ) answer ON true
LEFT JOIN LATERAL (SELECT number FROM ledger
                   WHERE event_id = h.event_id AND purchase_id = h.purchase_id
                   ORDER BY number LIMIT 1) ended ON true
LEFT JOIN LATERAL (SELECT at FROM batches
                   WHERE event_id = h.event_id AND first_number <= answer.number
                   ORDER BY first_number DESC LIMIT 1) b ON true
WHERE h.event_id = %(event)s
"""
READ_UNLISTED_HOLDS = """
SELECT command_id::text FROM ledger e WHERE event_id = %(event)s AND kind = 'held'
  AND NOT EXISTS (SELECT FROM ledger WHERE event_id = e.event_id AND purchase_id = e.command_id)
  AND NOT EXISTS (SELECT FROM holds WHERE event_id = e.event_id AND purchase_id = e.command_id)
ORDER BY number
"""
COUNT_REQUESTS = "SELECT count(*) FROM requests WHERE event_id = %(event)s"
READ_LOST = """
SELECT id::text FROM requests r WHERE event_id = %(event)s
  AND NOT EXISTS (SELECT FROM ledger WHERE event_id = r.event_id AND command_id = r.id)
  AND NOT EXISTS (SELECT FROM work_list WHERE event_id = r.event_id AND command_id = r.id)
"""
# Of one table with an index that begins with the event: one look-up for each event.
EVENTS_OF = """
(WITH RECURSIVE found AS (
    (SELECT event_id FROM {table} ORDER BY event_id LIMIT 1)
    UNION ALL
    SELECT (SELECT event_id FROM {table} WHERE event_id > found.event_id ORDER BY event_id LIMIT 1)
    FROM found WHERE event_id IS NOT NULL
) SELECT event_id FROM found WHERE event_id IS NOT NULL)
"""
TABLES_OF_EVENTS = ("lanes", "counters", "requests", "work_list", "holds", "ledger", "batches")
READ_EVENTS = " UNION ".join(
    ["SELECT id FROM events", *(EVENTS_OF.format(table=table) for table in TABLES_OF_EVENTS)]
)


@contextmanager
def snapshot(connection: Connection) -> Iterator[Cursor]:
    """A transaction that sees one moment."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # However long it takes: an operator waits for it.
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute(WITHOUT_TRANSACTION_TIMEOUT)
            # Rows that a policy hides are an error, as of pg_dump.
            cursor.execute("SET LOCAL row_security = off")
            for name, value in LOOK_UPS.items():
                cursor.execute(f"SET LOCAL {name} = {value}")
            yield cursor
    finally:
        if not connection.closed:
            connection.rollback()


def read_events(cursor: Cursor) -> list[int]:
    """The events that are, and those that anything else is left of."""
    cursor.execute(READ_EVENTS)
    return sorted(row[0] for row in cursor)


def entries_until_now(
    connection: Connection, event_id: int
) -> Iterator[tuple[list[BatchRow], list[EntryRow]]]:
    """The ledger in parts, up to the entries of about now; `entries` reads on from there."""
    after = 0
    while True:
        with snapshot(connection) as cursor:
            rows = entries(cursor, event_id, after, ROWS_AT_A_TIME)
            last = rows[-1].number if rows else after
            part = batches(cursor, event_id, after, last), rows
        yield part
        if len(rows) < ROWS_AT_A_TIME:
            return
        after = last


def entries(
    cursor: Cursor, event_id: int, after: int, rows_max: int | None = None
) -> list[EntryRow]:
    cursor.execute(READ_ENTRIES, {"event": event_id, "after": after, "rows": rows_max})
    return [EntryRow(*row) for row in cursor.fetchall()]


def batches(cursor: Cursor, event_id: int, after: int, last: int | None = None) -> list[BatchRow]:
    """Those that begin after one entry and not after another."""
    cursor.execute(READ_BATCHES, {"event": event_id, "after": after, "last": last})
    return [
        BatchRow(first_number, last_number, at, Snapshot.parse(seen), *more)
        for first_number, last_number, at, seen, *more in cursor.fetchall()
    ]


def lane(cursor: Cursor, event_id: int) -> LaneRow | None:
    cursor.execute(READ_LANE, {"event": event_id})
    row = cursor.fetchone()
    return None if row is None else LaneRow(*row)


def counters(cursor: Cursor, event_id: int) -> list[CounterRow]:
    """Of the event's ticket types, and of those that have nothing but a counter."""
    cursor.execute(READ_COUNTERS, {"event": event_id})
    return [CounterRow(*row) for row in cursor.fetchall()]


def waiting(connection: Connection, event_id: int) -> Iterator[WaitingRow]:
    """The work list, in its order; within the open transaction."""
    return _each(WaitingRow, connection, READ_WAITING, event_id)


def holds(connection: Connection, event_id: int) -> Iterator[HoldRow]:
    """The open holds; within the open transaction."""
    return _each(HoldRow, connection, READ_HOLDS, event_id)


def _each(
    kind: Callable[..., Row], connection: Connection, statement: str, event_id: int
) -> Iterator[Row]:
    with connection.cursor("rows") as cursor:
        cursor.itersize = ROWS_AT_A_TIME
        cursor.execute(statement, {"event": event_id})
        for row in cursor:
            yield kind(*row)


def count_requests(cursor: Cursor, event_id: int) -> int:
    cursor.execute(COUNT_REQUESTS, {"event": event_id})
    return sum(row[0] for row in cursor)


def lost(cursor: Cursor, event_id: int) -> list[str]:
    """The ids of requests that neither wait nor have an entry."""
    cursor.execute(READ_LOST, {"event": event_id})
    return [row[0] for row in cursor.fetchall()]


def unlisted_holds(cursor: Cursor, event_id: int) -> list[str]:
    """The ids of purchases that are held and not in the list of open holds."""
    cursor.execute(READ_UNLISTED_HOLDS, {"event": event_id})
    return [row[0] for row in cursor.fetchall()]


def ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """The same, each read in a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = reader.submit(next, parts, None)
            yield part
