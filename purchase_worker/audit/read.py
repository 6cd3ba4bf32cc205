"""Reads what the audit replays, in short transactions: the sale may go on meanwhile.

Nobody waits for a reader. But while its transaction is open, PostgreSQL keeps every row version
that has died since, and those of the work list slow the reading of the queue: after 75,000
decisions beside an open snapshot, one look at it took 8 ms. The ledger only grows, so it is read in
parts, and only the last one together with what changes: lane, counters and work list.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, lower case there
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.replay import CounterRow, EntryRow, LaneRow, WaitingRow

Part = TypeVar("Part")

# So a sale of millions needs no more memory than a small one.
ROWS_AT_A_TIME = 20_000

# Each row is looked up by its key (OFFSET 0), however large the tables are.
LOOK_UPS = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
# Of an entry `e` and its request `r`, as `EntryRow` has them.
ENTRY = """
    e.number, e.kind, e.reason, e.ticket_type_id, coalesce(e.change, 0), coalesce(e.left_after, 0),
    e.items::text, e.command_id::text, r.seq, r.accepted_xid::text::bigint,
    extract(epoch FROM r.created_at)::float8, r.kind, r.user_id, r.ticket_type_id,
    coalesce(r.quantity, 0), r.user_limit, r.event_user_limit, r.items::text
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
SELECT first_number, last_number, extract(epoch FROM at)::float8, seen::text, ticket_type_id
FROM batches WHERE event_id = %(event)s AND first_number > %(after)s
  AND (%(last)s::bigint IS NULL OR first_number <= %(last)s)
ORDER BY first_number
"""
READ_LANE = """
SELECT number, extract(epoch FROM at)::float8, done_seq FROM lanes WHERE event_id = %(event)s
"""
READ_COUNTERS = """
SELECT coalesce(t.id, c.ticket_type_id), t.id IS NOT NULL, c.issued, c.sold
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
TABLES_OF_EVENTS = ("lanes", "counters", "requests", "work_list", "ledger", "batches")
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
        BatchRow(first_number, last_number, at, Snapshot.parse(seen), ticket_type_id)
        for first_number, last_number, at, seen, ticket_type_id in cursor.fetchall()
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
    with connection.cursor("waiting") as cursor:
        cursor.itersize = ROWS_AT_A_TIME
        cursor.execute(READ_WAITING, {"event": event_id})
        for row in cursor:
            yield WaitingRow(*row)


def count_requests(cursor: Cursor, event_id: int) -> int:
    cursor.execute(COUNT_REQUESTS, {"event": event_id})
    return sum(row[0] for row in cursor)


def lost(cursor: Cursor, event_id: int) -> list[str]:
    """The ids of requests that neither wait nor have an entry."""
    cursor.execute(READ_LOST, {"event": event_id})
    return [row[0] for row in cursor.fetchall()]


def ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """The same, each read in a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = reader.submit(next, parts, None)
            yield part
