"""The rows that a run is compared with."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from sqlalchemy import Engine, text

from loadtests.verdict.promises import PurchaseRow, TicketTypeCounters
from shared.purchases import as_time

T = TypeVar("T")
# Rows asked for at a time: the answer is a megabyte, and no statement comes near its time limit.
CHUNK_ROWS = 5_000

READ_ROWS = text(f"""
SELECT id::text, status, reason, ticket_type_id, quantity, (unit_price * quantity)::text,
       {as_time("decided_at")}
FROM ticket_purchases WHERE id = ANY(CAST(:ids AS uuid[]))
""")
READ_QUEUED = text("""
SELECT id::text FROM ticket_purchases
WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'queued'
""")
READ_COUNTERS = text("""
SELECT i.ticket_type_id, i.issued, i.sold, coalesce(sum(p.quantity), 0)::bigint
FROM ticket_inventory i
LEFT JOIN ticket_purchases p ON p.ticket_type_id = i.ticket_type_id AND p.status = 'confirmed'
WHERE i.ticket_type_id = ANY(:ids) GROUP BY i.ticket_type_id ORDER BY i.ticket_type_id
""")


def read_rows(engine: Engine, ids: Iterable[str]) -> dict[str, PurchaseRow]:
    """These purchases by id; one without a row is missing."""
    with engine.connect() as connection:
        rows = connection.execute(READ_ROWS, {"ids": list(ids)})
        return {row[0]: PurchaseRow(*row) for row in rows}


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
