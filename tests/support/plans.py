"""Plans of statements, as EXPLAIN (FORMAT JSON) has them, and the rows that were read."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine

from tests.support.factories import run, scalar


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Scan" in node["Node Type"]:
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)


def rows_read(engine: Engine) -> int:
    """In all tables of the database, since it was made."""
    run(engine, "SELECT pg_stat_force_next_flush()")
    total: int = scalar(
        engine, "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables"
    )
    return total
