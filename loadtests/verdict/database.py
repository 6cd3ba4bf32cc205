"""The rows that a run is compared with: where they are, and how they are read."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar
from urllib.parse import urlsplit

from sqlalchemy import Engine, text

from loadtests.eventify_command import running_system
from loadtests.verdict.promises import PurchaseRow, TicketTypeCounters
from shared.config.settings import SECRETS_DIR, Settings, get_settings
from shared.database.engine import open_engine
from shared.errors import ConfigurationError
from shared.purchases import as_time

T = TypeVar("T")
DATABASE_URL = "EVENTIFY_DATABASE_URL"
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


@contextmanager
def open_database(host: str) -> Iterator[tuple[Engine, Settings]]:
    """The tested system's database: EVENTIFY_DATABASE_URL, or that of the system that runs here.

    Args:
        host: the gateway that is tested; a system that runs here under another URL is not it.

    Raises:
        ConfigurationError: neither is known.
    """
    settings = _settings(host)
    engine = open_engine(settings, "loadtest", pool_size=1)
    try:
        yield engine, settings
    finally:
        engine.dispose()


def _settings(host: str) -> Settings:
    if os.environ.get(DATABASE_URL) or os.environ.get(SECRETS_DIR):
        return get_settings()
    system = running_system()
    if system is None or address(system["gateway_url"]) != address(host):
        raise ConfigurationError(
            f"No database is known for {host}: set {DATABASE_URL} or give --database-url."
        )
    return Settings(database_url=system["database_url"])


def address(url: str) -> tuple[str | None, int | None]:
    """Where a URL leads to, the same for each name of this machine."""
    parts = urlsplit(url)
    return {"localhost": "127.0.0.1"}.get(parts.hostname or "", parts.hostname), parts.port


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
