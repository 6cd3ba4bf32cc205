"""Plans of statements, as EXPLAIN (FORMAT JSON) has them, and the rows that were read."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine

from tests.support.factories import run, scalar
from tests.support.postgres_version import postgres_version

# Before version 15 a session reports twice a second at most; and what is read may be half a second
# old.
REPORTS_BY_ITSELF = postgres_version() < 15
FLUSH = "SELECT pg_sleep(0.6)" if REPORTS_BY_ITSELF else "SELECT pg_stat_force_next_flush()"


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Scan" in node["Node Type"]:
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)


def flush_statistics(engine: Engine) -> None:
    """Report what the only open connection of this engine did to PostgreSQL's statistics."""
    run(engine, FLUSH)
    if REPORTS_BY_ITSELF:
        run(engine, FLUSH)


def rows_read(engine: Engine) -> int:
    """In all tables of the database, since it was made."""
    flush_statistics(engine)
    total: int = scalar(
        engine, "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables"
    )
    return total
