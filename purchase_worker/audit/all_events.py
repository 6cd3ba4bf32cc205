"""The audit: replays every event's ledger, and sums it up."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, lower case there
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import Engine

from purchase_worker.audit import guards, read
from purchase_worker.audit.by_holder import BoughtByHolder
from purchase_worker.audit.findings import (
    DESCRIPTIONS,
    FIRST_COME,
    GUARDS,
    HOLDS,
    INVENTORY,
    NUMBERING,
    OUTCOMES,
    PAYMENTS,
    QUEUE,
    Findings,
)
from purchase_worker.audit.limits import check_limits
from purchase_worker.audit.replay import Replay
from purchase_worker.audit.rows import PURCHASES, CounterRow
from shared.config.settings import Settings
from shared.database.rights import excess_rights
from shared.purchases import CONFIRMED, EXPIRED, HELD, REJECTED, RELEASED


class Invariant(msgspec.Struct, frozen=True):
    """One promise: how many rows were held against it, and what broke it."""

    name: str
    description: str
    checked: int
    violations: int
    examples: list[str]


class AuditReport(msgspec.Struct, frozen=True):
    """`issued` to `left` are tickets, the other figures purchases; `open_holds` wait for payment.

    `confirmed` are at once or by a payment, also those that were cancelled later.
    """

    ok: bool
    audited_at: str
    ticket_types: int
    purchases: int
    issued: int
    held: int
    sold: int
    left: int
    confirmed: int
    open_holds: int
    released: int
    expired: int
    rejected: int
    queued: int
    invariants: list[Invariant]


class _Totals(msgspec.Struct):
    """What adds up while events are replayed."""

    # By kind.
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    paid: int = 0
    open_holds: int = 0
    ticket_types: int = 0
    issued: int = 0
    held: int = 0
    sold: int = 0
    waiting: int = 0
    queued: int = 0


def audit(engine: Engine, settings: Settings, event_id: int | None = None) -> AuditReport:
    """Replay every event, or one; the sales may go on meanwhile.

    Raises:
        psycopg2.Error: the database is unavailable.
    """
    found, totals = Findings(), _Totals()
    with engine.connect() as asking:
        for excess in excess_rights(asking):
            found.add(GUARDS, excess)
    pooled = engine.raw_connection()
    try:
        connection: Connection = pooled.driver_connection  # type: ignore[assignment]
        with read.snapshot(connection) as cursor:
            for missing in guards.missing_guards(cursor):
                found.add(GUARDS, missing)
            events = read.read_events(cursor) if event_id is None else [event_id]
        for each in events:
            _audit_event(connection, each, settings.audit_queued_max_seconds, found, totals)
    finally:
        pooled.close()
    return _report(totals, found)


def _audit_event(
    connection: Connection,
    event_id: int,
    queued_max_seconds: float,
    found: Findings,
    totals: _Totals,
) -> None:
    with BoughtByHolder() as bought:
        replay = Replay(event_id, found, bought.add)
        for part in read.ahead(read.entries_until_now(connection, event_id)):
            replay.feed(*part)
        # What was decided meanwhile is little; with it, all is of this moment.
        with read.snapshot(connection) as cursor:
            counters = _finish(cursor, event_id, replay, queued_max_seconds, found)
        if replay.limited:
            for rows in bought.parts():
                check_limits(rows, found, event_id)
    totals.outcomes += replay.outcomes
    totals.paid += replay.paid
    totals.open_holds += replay.open_holds
    totals.ticket_types += sum(counter.exists for counter in counters)
    totals.issued += sum(counter.issued or 0 for counter in counters)
    totals.held += sum(counter.held or 0 for counter in counters)
    totals.sold += sum(counter.sold or 0 for counter in counters)
    totals.waiting += replay.waiting.total()
    totals.queued += replay.waiting[PURCHASES]


def _finish(
    cursor: Cursor, event_id: int, replay: Replay, queued_max_seconds: float, found: Findings
) -> list[CounterRow]:
    batches = read.batches(cursor, event_id, replay.number)
    replay.feed(batches, read.entries(cursor, event_id, replay.number))
    lane, counters = read.lane(cursor, event_id), read.counters(cursor, event_id)
    replay.finish(lane, counters)
    if replay.check_holds(read.holds(cursor.connection, event_id)) != replay.open_holds:
        for id_ in read.unlisted_holds(cursor, event_id):
            found.add(HOLDS, f"{id_} is held, but not in the list of open holds", event_id)
    replay.check_waiting(lane, read.waiting(cursor.connection, event_id), queued_max_seconds)
    # Each entry and each row of the work list is of another request: equal counts prove that no
    # request is lost, and more cheaply than a look-up of each.
    requests = replay.outcomes.total() + replay.waiting.total()
    if read.count_requests(cursor, event_id) != requests:
        for id_ in read.lost(cursor, event_id):
            found.add(NUMBERING, f"{id_} neither waits nor has an entry", event_id)
    return counters


def _report(totals: _Totals, found: Findings) -> AuditReport:
    outcomes, entries = totals.outcomes, totals.outcomes.total()
    # A purchase that was paid has an entry for its hold, and one for its payment.
    decided = outcomes[CONFIRMED] - totals.paid + outcomes[HELD] + outcomes[REJECTED]
    checked = {
        INVENTORY: entries + totals.ticket_types,
        NUMBERING: entries + totals.waiting,
        OUTCOMES: entries,
        HOLDS: outcomes[HELD],
        PAYMENTS: totals.paid,
        FIRST_COME: entries + totals.waiting,
        QUEUE: totals.waiting,
        GUARDS: sum(map(len, guards.GUARDS.values())),
    }
    return AuditReport(
        ok=not found.counts,
        audited_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ticket_types=totals.ticket_types,
        purchases=decided + totals.queued,
        issued=totals.issued,
        held=totals.held,
        sold=totals.sold,
        left=totals.issued - totals.held - totals.sold,
        confirmed=outcomes[CONFIRMED],
        open_holds=totals.open_holds,
        released=outcomes[RELEASED],
        expired=outcomes[EXPIRED],
        rejected=outcomes[REJECTED],
        queued=totals.queued,
        invariants=[
            Invariant(
                name,
                description,
                checked.get(name, decided),
                found.counts[name],
                found.examples[name],
            )
            for name, description in DESCRIPTIONS.items()
        ],
    )
