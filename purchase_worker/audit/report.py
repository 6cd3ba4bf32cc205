"""The audit: reads and replays every ticket type, each as of one moment, and sums it up."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, lower case there
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import Engine

from purchase_worker.audit import guards
from purchase_worker.audit.replay import (
    DESCRIPTIONS,
    FIRST_COME,
    GUARDS,
    INVENTORY,
    NUMBERING,
    QUEUE,
    BatchRecord,
    Change,
    DecidedRow,
    InventoryRow,
    QueuedRow,
    Replay,
    Snapshot,
    Violation,
)
from shared.config.settings import Settings
from shared.database.rights import excess_rights
from shared.purchases import CONFIRMED

# Violations that are listed; all are counted.
EXAMPLES_MAX = 20
# Rows fetched at a time, so that a sale of millions needs no more memory than a small one.
FETCH_ROWS = 5_000

READ_TICKET_TYPES = """
SELECT id FROM ticket_types ORDER BY id
"""
# A ticket type whose counter is missing is held against an empty one, and so found.
READ_COUNTER = """
SELECT coalesce(i.issued, 0), coalesce(i.sold, 0), coalesce(i.decisions, 0)
FROM ticket_types t LEFT JOIN ticket_inventory i ON i.ticket_type_id = t.id WHERE t.id = %s
"""
# What no replay would read: it is neither queued nor decided with a number, or of no ticket type.
READ_ASTRAY = """
SELECT p.ticket_type_id, p.id::text, p.status, p.decision_number, t.id IS NULL
FROM ticket_purchases p LEFT JOIN ticket_types t ON t.id = p.ticket_type_id
WHERE t.id IS NULL OR p.status NOT IN ('queued', 'confirmed', 'rejected')
   OR (p.status = 'queued') <> (p.decision_number IS NULL)
ORDER BY p.ticket_type_id, p.seq
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


class AuditReport(msgspec.Struct, frozen=True):
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


def audit(engine: Engine, settings: Settings) -> AuditReport:
    """Replay every sale, each as of one moment; the sales may go on meanwhile.

    Raises:
        psycopg2.Error: the database is unavailable.
    """
    totals = _Totals()
    with engine.connect() as asking:
        violations = [Violation(GUARDS, None, what) for what in excess_rights(asking)]
    pooled = engine.raw_connection()
    try:
        connection: Connection = pooled.driver_connection  # type: ignore[assignment]
        with _snapshot(connection) as cursor:
            violations += [Violation(GUARDS, None, what) for what in guards.missing_guards(cursor)]
            violations += _astray(cursor)
            cursor.execute(READ_TICKET_TYPES)
            ticket_types = [row[0] for row in cursor]
        for ticket_type_id in ticket_types:
            with _snapshot(connection) as cursor:
                violations += _replay(
                    cursor, ticket_type_id, settings.audit_queued_max_seconds, totals
                )
    finally:
        pooled.close()
    return _report(totals, violations)


@contextmanager
def _snapshot(connection: Connection) -> Iterator[Cursor]:
    """A transaction that sees one moment; one for each ticket type, and no longer.

    Nobody waits for it. But while it is open, PostgreSQL keeps every row version that has died
    since, and index entries of decided purchases slow the reading of the queue: after 75,000
    decisions beside an open snapshot, one look at it took 8 ms.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # However long it takes: an operator waits for it.
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield cursor
    finally:
        if not connection.closed:
            connection.rollback()


def _astray(cursor: Cursor) -> list[Violation]:
    cursor.execute(READ_ASTRAY)
    return [
        Violation(
            NUMBERING,
            ticket_type_id,
            f"{id_} is {status} with decision number {number}"
            + (", and its ticket type is gone" if gone else ""),
        )
        for ticket_type_id, id_, status, number, gone in cursor
    ]


def _replay(
    cursor: Cursor, ticket_type_id: int, queued_max_seconds: float, totals: _Totals
) -> list[Violation]:
    cursor.execute(READ_COUNTER, (ticket_type_id,))
    row = cursor.fetchone()
    if row is None:
        return []  # deleted since the list was read; only one without purchases can be
    counter = InventoryRow(*row)
    replay = Replay(
        ticket_type_id,
        counter,
        [Change(*row) for row in _fetch(cursor, READ_CHANGES, ticket_type_id)],
        [
            BatchRecord(first, last, Snapshot.parse(seen))
            for first, last, seen in _fetch(cursor, READ_BATCHES, ticket_type_id)
        ],
    )
    replay.feed(_counted(_decided(cursor.connection, ticket_type_id), totals))
    queued = [QueuedRow(*row) for row in _fetch(cursor, READ_QUEUED, ticket_type_id)]
    replay.finish(queued, queued_max_seconds)
    totals.ticket_types += 1
    totals.issued += counter.issued
    totals.sold += counter.sold
    totals.queued += len(queued)
    return replay.violations


def _fetch(cursor: Cursor, statement: str, ticket_type_id: int) -> list[tuple[Any, ...]]:
    cursor.execute(statement, (ticket_type_id,))
    return cursor.fetchall()


def _decided(connection: Connection, ticket_type_id: int) -> Iterator[DecidedRow]:
    with connection.cursor("decided") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(READ_DECIDED, (ticket_type_id,))
        for row in cursor:
            yield DecidedRow(*row)


def _counted(rows: Iterator[DecidedRow], totals: _Totals) -> Iterator[DecidedRow]:
    for row in rows:
        if row.status == CONFIRMED:
            totals.confirmed += 1
        else:
            totals.rejected += 1
        yield row


def _report(totals: _Totals, violations: list[Violation]) -> AuditReport:
    decided = totals.confirmed + totals.rejected
    purchases = decided + totals.queued
    checked = {
        INVENTORY: decided + totals.ticket_types,
        NUMBERING: purchases,
        FIRST_COME: purchases,
        QUEUE: totals.queued,
        GUARDS: sum(map(len, guards.GUARDS.values())),
    }
    by_invariant: dict[str, list[str]] = {name: [] for name in DESCRIPTIONS}
    for violation in violations:
        where = "" if violation.ticket_type is None else f"ticket type {violation.ticket_type}: "
        by_invariant[violation.invariant].append(where + violation.detail)
    return AuditReport(
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
