"""Proves a sale from its rows: reads them in one snapshot and replays every ticket type.

The replay itself is pure (`replay.py`); this is what feeds it, and what sums it up.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, lower case there
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import Engine

from purchase_worker.replay import (
    DESCRIPTIONS,
    BatchRecord,
    Change,
    Counter,
    QueuedRow,
    Replay,
    Row,
    Snapshot,
    Violation,
)
from shared.settings import Settings

# Violations told by name; all are counted.
EXAMPLES_MAX = 20
# Rows fetched at a time, so that a sale of millions needs no more memory than a small one.
FETCH_ROWS = 5_000

# A ticket type whose counter is missing is held against an empty one, and so found.
READ_COUNTERS = """
SELECT t.id, coalesce(i.issued, 0), coalesce(i.sold, 0), coalesce(i.decisions, 0)
FROM ticket_types t LEFT JOIN ticket_inventory i ON i.ticket_type_id = t.id ORDER BY t.id
"""
READ_CHANGES = """
SELECT change, after_decision FROM inventory_changes WHERE ticket_type_id = %s ORDER BY id
"""
READ_BATCHES = """
SELECT first_number, last_number, seen::text FROM decision_batches
WHERE ticket_type_id = %s ORDER BY first_number
"""
READ_DECIDED = """
SELECT id::text, seq, accepted_xid::text::bigint, user_id, quantity, user_limit, status, reason,
       decision_number, left_after
FROM ticket_purchases WHERE ticket_type_id = %s AND decision_number IS NOT NULL
ORDER BY decision_number
"""
READ_QUEUED = """
SELECT id::text, seq, accepted_xid::text::bigint, extract(epoch FROM now() - created_at)::float8
FROM ticket_purchases WHERE ticket_type_id = %s AND status = 'queued' ORDER BY seq
"""


class Invariant(msgspec.Struct, frozen=True):
    """One promise: how many rows were held against it, and what broke it."""

    name: str
    description: str
    checked: int
    violations: int
    examples: list[str]


class Report(msgspec.Struct, frozen=True):
    ok: bool
    audited_at: str
    ticket_types: int
    purchases: int
    issued: int
    sold: int
    left: int
    confirmed: int
    rejected: int
    queued: int
    invariants: list[Invariant]


class _Totals(msgspec.Struct):
    """What adds up while ticket types are replayed."""

    ticket_types: int = 0
    issued: int = 0
    sold: int = 0
    confirmed: int = 0
    rejected: int = 0
    queued: int = 0


def audit(engine: Engine, settings: Settings) -> Report:
    """Replay every sale, as of one moment; the sales may go on meanwhile.

    Raises:
        psycopg2.Error: the database is away.
    """
    pooled = engine.raw_connection()
    try:
        connection: Connection = pooled.driver_connection  # type: ignore[assignment]
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # However long it takes: it locks nothing, and an operator waits for it.
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            return _audit(connection, cursor, settings.audit_queued_max_seconds)
    finally:
        pooled.close()


def _audit(connection: Connection, cursor: Cursor, queued_max_seconds: float) -> Report:
    totals = _Totals()
    violations: list[Violation] = []
    cursor.execute(READ_COUNTERS)
    for ticket_type_id, *counter in cursor.fetchall():
        replay = Replay(
            ticket_type_id,
            Counter(*counter),
            [Change(*row) for row in _fetch(cursor, READ_CHANGES, ticket_type_id)],
            [
                BatchRecord(first, last, Snapshot.parse(seen))
                for first, last, seen in _fetch(cursor, READ_BATCHES, ticket_type_id)
            ],
        )
        replay.feed(_counted(_decided(connection, ticket_type_id), totals))
        queued = [QueuedRow(*row) for row in _fetch(cursor, READ_QUEUED, ticket_type_id)]
        replay.finish(queued, queued_max_seconds)
        violations += replay.violations
        totals.ticket_types += 1
        totals.issued += counter[0]
        totals.sold += counter[1]
        totals.queued += len(queued)
    return _report(totals, violations)


def _fetch(cursor: Cursor, statement: str, ticket_type_id: int) -> list[tuple[Any, ...]]:
    cursor.execute(statement, (ticket_type_id,))
    return cursor.fetchall()


def _decided(connection: Connection, ticket_type_id: int) -> Iterator[Row]:
    with connection.cursor("decided") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(READ_DECIDED, (ticket_type_id,))
        for row in cursor:
            yield Row(*row)


def _counted(rows: Iterator[Row], totals: _Totals) -> Iterator[Row]:
    for row in rows:
        if row.reason is None:
            totals.confirmed += 1
        else:
            totals.rejected += 1
        yield row


def _report(totals: _Totals, violations: list[Violation]) -> Report:
    decided = totals.confirmed + totals.rejected
    purchases = decided + totals.queued
    checked = {"inventory": decided + totals.ticket_types, "first_come": purchases}
    checked["queue"] = totals.queued
    by_invariant: dict[str, list[str]] = {name: [] for name in DESCRIPTIONS}
    for violation in violations:
        by_invariant[violation.invariant].append(
            f"ticket type {violation.ticket_type}: {violation.detail}"
        )
    return Report(
        ok=not violations,
        audited_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ticket_types=totals.ticket_types,
        purchases=purchases,
        issued=totals.issued,
        sold=totals.sold,
        left=totals.issued - totals.sold,
        confirmed=totals.confirmed,
        rejected=totals.rejected,
        queued=totals.queued,
        invariants=[
            Invariant(
                name, description, checked.get(name, decided), len(found), found[:EXAMPLES_MAX]
            )
            for name, description in DESCRIPTIONS.items()
            for found in (by_invariant[name],)
        ],
    )
