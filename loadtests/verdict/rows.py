"""The rows that a run is compared with."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec
from sqlalchemy import Engine, text

from loadtests.verdict.promises import PurchaseRow, TicketTypeCounters
from shared.purchases import as_time

T = TypeVar("T")
# Rows asked for at a time: the answer is a megabyte, and no statement comes near its time limit.
CHUNK_ROWS = 5_000

# Of a request `r`, in the order sent.
LINES = """jsonb_to_recordset(coalesce(r.items, jsonb_build_array(jsonb_build_object(
        'ticket_type', r.ticket_type_id, 'quantity', r.quantity, 'unit_price', r.unit_price))))
    AS line (ticket_type bigint, quantity int, unit_price numeric)"""
READ_ROWS = text(f"""
SELECT r.id::text, e.reason::text, c.payment_reference,
       array_remove(ARRAY[coalesce(e.kind::text, 'queued'), ended.kind::text], NULL) AS statuses,
       r.ticket_type_id AS ticket_type, r.quantity, line.items, line.total_price::text,
       {as_time("b.at")} AS decided_at
FROM requests r
LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
LEFT JOIN LATERAL (SELECT at FROM batches WHERE event_id = e.event_id AND first_number <= e.number
                   ORDER BY first_number DESC LIMIT 1) b ON true
LEFT JOIN ledger ended
    ON ended.event_id = r.event_id AND ended.purchase_id = r.id AND ended.kind <> 'cancelled'
LEFT JOIN requests c ON c.id = ended.command_id
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('ticket_type', ticket_type, 'quantity', quantity)) AS items,
           sum(unit_price * quantity) AS total_price
    FROM {LINES}) line
WHERE r.id = ANY(CAST(:ids AS uuid[]))
""")
READ_QUEUED = text("""
SELECT id::text FROM requests r
WHERE id = ANY(CAST(:ids AS uuid[]))
  AND NOT EXISTS (SELECT FROM ledger WHERE event_id = r.event_id AND command_id = r.id)
""")
# Of each purchase its newest status; what was cancelled of it is no longer sold.
READ_COUNTERS = text(f"""
WITH event AS MATERIALIZED (
    SELECT DISTINCT event_id FROM ticket_types WHERE id = ANY(:ids)
), taken AS (
    SELECT line.ticket_type, line.quantity, coalesce(ended.kind, e.kind)::text AS status
    FROM event JOIN ledger e USING (event_id) JOIN requests r ON r.id = e.command_id
    LEFT JOIN ledger ended
        ON ended.event_id = e.event_id AND ended.purchase_id = r.id AND ended.kind <> 'cancelled'
    CROSS JOIN LATERAL {LINES}
    WHERE r.kind = 'buy'
    UNION ALL
    SELECT line.ticket_type, -line.quantity, 'confirmed'
    FROM event JOIN ledger e USING (event_id)
    CROSS JOIN LATERAL jsonb_to_recordset(e.items) AS line (ticket_type bigint, quantity int)
    WHERE e.kind = 'cancelled'
), sums AS (
    SELECT ticket_type, sum(quantity) FILTER (WHERE status = 'held') AS held,
           sum(quantity) FILTER (WHERE status = 'confirmed') AS confirmed
    FROM taken GROUP BY ticket_type
)
SELECT c.ticket_type_id, c.issued, c.held, c.sold, coalesce(sums.held, 0)::bigint,
       coalesce(sums.confirmed, 0)::bigint
FROM counters c LEFT JOIN sums ON sums.ticket_type = c.ticket_type_id
WHERE c.ticket_type_id = ANY(:ids) ORDER BY c.ticket_type_id
""")


def read_rows(engine: Engine, ids: Iterable[str]) -> dict[str, PurchaseRow]:
    """These purchases by id; one without a row is missing."""
    with engine.connect() as connection:
        found = connection.execute(READ_ROWS, {"ids": list(ids)}).mappings()
        rows = (msgspec.convert(dict(row), PurchaseRow) for row in found)
        return {row.id: row for row in rows}


def still_queued(engine: Engine, ids: Iterable[str]) -> list[str]:
    with engine.connect() as connection:
        return [
            id_
            for chunk in chunks(ids, CHUNK_ROWS)
            for id_ in connection.scalars(READ_QUEUED, {"ids": chunk})
        ]


def read_counters(engine: Engine, ticket_types: Iterable[int]) -> list[TicketTypeCounters]:
    with engine.begin() as connection:
        # It adds up every purchase of the sale, once.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        rows = connection.execute(READ_COUNTERS, {"ids": list(ticket_types)})
        return [TicketTypeCounters(*row) for row in rows]


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of this size; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
