"""Checks during a sale that lanes and counters move by what was decided, and by nothing else.

The audit replays every entry, which takes a minute for millions. This reads only the entries since
its last check, so it may run all the time; what was before its first check is left to the audit.
"""

from collections.abc import Iterator, Mapping
from operator import add
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from purchase_worker import metrics
from purchase_worker.audit.findings import INVENTORY, NUMBERING
from shared.database.engine import cursor_transaction
from shared.database.prepared_statement import array_literal
from shared.observability.logging import get_logger

READ_LANES = "SELECT event_id, number FROM lanes"
READ_COUNTERS = "SELECT event_id, ticket_type_id, issued, held, sold FROM counters"
# By ticket type, and null for entries without lines; an entry counts where its first line is. Lines
# have a quantity where an earlier purchase is paid or gives tickets back.
READ_SINCE = """
SELECT e.event_id, line.ticket_type_id, count(*) FILTER (WHERE line.nth = 1), max(e.number),
       coalesce(sum(CASE e.kind WHEN 'issued' THEN line.change WHEN 'withdrawn' THEN line.change
                    WHEN 'cancelled' THEN line.change - line.quantity END), 0),
       coalesce(sum(CASE WHEN e.kind = 'held' THEN -line.change
                    WHEN e.purchase_id IS NOT NULL AND e.kind <> 'cancelled'
                    THEN -line.quantity END), 0),
       coalesce(sum(CASE e.kind WHEN 'confirmed' THEN coalesce(line.quantity, -line.change)
                    WHEN 'cancelled' THEN -line.quantity END), 0)
FROM unnest(%(ids)s::bigint[], %(after)s::bigint[]) AS moved (id, after)
CROSS JOIN LATERAL (
    SELECT * FROM ledger WHERE event_id = moved.id AND number > moved.after OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT 1 AS nth, e.ticket_type_id, e.change, NULL::int AS quantity
    WHERE e.items IS NULL OR e.items = '[]'
    UNION ALL
    SELECT nth, (item->>'ticket_type')::bigint, (item->>'change')::int, (item->>'quantity')::int
    FROM jsonb_array_elements(e.items) WITH ORDINALITY AS i (item, nth)) line
GROUP BY e.event_id, line.ticket_type_id
"""

logger = get_logger(__name__)


class Counter(NamedTuple):
    """Tickets of one type."""

    issued: int = 0
    held: int = 0
    sold: int = 0


class WatchedLane(NamedTuple):
    """How many entries an event has, and its counters by ticket type."""

    number: int
    counters: Mapping[int, Counter]


class Since(NamedTuple):
    """Entries since the last check: how many, the newest, and how they moved counters."""

    entries: int
    number: int
    moved: Mapping[int, Counter]


NEW = WatchedLane(0, {})
NOTHING = Since(0, 0, {})


def violated(before: WatchedLane, now: WatchedLane, since: Since) -> Iterator[str]:
    """The invariants that do not hold between two checks. Pure."""
    grown = now.number - before.number
    if since.entries != grown or (grown and since.number != now.number):
        yield NUMBERING
    for id_ in before.counters.keys() | now.counters.keys() | since.moved.keys():
        was, is_ = before.counters.get(id_, Counter()), now.counters.get(id_, Counter())
        moved = since.moved.get(id_, Counter())
        adds_up = is_ == tuple(map(add, was, moved))
        within = min(is_.held, is_.sold) >= 0 and is_.held + is_.sold <= is_.issued
        if not adds_up or (is_ != was and not within):
            yield INVENTORY
            return


class CounterWatch:
    """Remembers each event's lane and counters from one check to the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # None before the first check; an event that appears later is checked from its first entry.
        self._known: dict[int, WatchedLane] | None = None

    def check(self) -> None:
        """Compare lanes and counters with what was decided since the last check; log differences.

        Raises:
            DATABASE_UNAVAILABLE: the next check includes what this one did not read.
        """
        known = self._known
        since: Mapping[int, Since] = {}
        with cursor_transaction(self._engine) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            now = _read_lanes(cursor)
            if known is not None:
                since = _read_since(cursor, known, now)
        self._known = now
        if known is not None:
            for id_, lane in now.items():
                self._compare(id_, known.get(id_, NEW), lane, since.get(id_, NOTHING))
        metrics.AUDIT_TIMESTAMP_SECONDS.set_to_current_time()

    def _compare(self, event_id: int, before: WatchedLane, now: WatchedLane, since: Since) -> None:
        metrics.AUDIT_CHECKED.inc(since.entries)
        for invariant in violated(before, now, since):
            metrics.AUDIT_VIOLATIONS.labels(invariant).inc()
            logger.error(
                "counters_differ",
                invariant=invariant,
                event_id=event_id,
                before=_logged(before.number, before.counters),
                now=_logged(now.number, now.counters),
                decided_since=_logged(since.entries, since.moved),
            )


def _read_lanes(cursor: Cursor) -> dict[int, WatchedLane]:
    cursor.execute(READ_LANES)
    lanes = {event_id: WatchedLane(number, {}) for event_id, number in cursor}
    cursor.execute(READ_COUNTERS)
    counters: dict[int, dict[int, Counter]] = {}
    for event_id, id_, *counter in cursor:
        counters.setdefault(event_id, {})[id_] = Counter(*counter)
    return {
        event_id: WatchedLane(lane.number, counters.get(event_id, {}))
        for event_id, lane in lanes.items()
    }


def _read_since(
    cursor: Cursor, known: Mapping[int, WatchedLane], now: Mapping[int, WatchedLane]
) -> dict[int, Since]:
    before = {event_id: known.get(event_id, NEW).number for event_id in now}
    moved = [event_id for event_id, lane in now.items() if lane.number != before[event_id]]
    cursor.execute(
        READ_SINCE,
        {
            "ids": array_literal(moved),
            "after": array_literal(before[event_id] for event_id in moved),
        },
    )
    since: dict[int, Since] = {}
    for event_id, id_, entries, number, *moves in cursor:
        so_far = since.get(event_id, NOTHING)
        counters = so_far.moved if id_ is None else {**so_far.moved, id_: Counter(*moves)}
        since[event_id] = Since(so_far.entries + entries, max(so_far.number, number), counters)
    return since


def _logged(number: int, counters: Mapping[int, Counter]) -> dict[str, object]:
    by_type = {str(id_): counter._asdict() for id_, counter in counters.items()}
    return {"entries": number, "ticket_types": by_type}
