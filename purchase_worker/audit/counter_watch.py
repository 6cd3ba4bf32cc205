"""Checks during a sale that the counters move by what was decided, and by nothing else.

The audit replays every decision, which takes minutes for millions. This reads only the decisions
since its last check, so it may run all the time; what was before its first check is left to the
audit.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from purchase_worker import metrics
from purchase_worker.audit.replay import INVENTORY, NUMBERING
from shared.database.engine import statement
from shared.database.prepared_statement import array_literal
from shared.observability.logging import get_logger

# One statement, so one moment. Without a number to count from, no decisions are counted.
READ_MOVED = """
SELECT i.ticket_type_id, i.issued, i.sold, i.decisions,
       (SELECT coalesce(sum(change), 0) FROM inventory_changes c
        WHERE c.ticket_type_id = i.ticket_type_id),
       since.decisions, since.tickets
FROM ticket_inventory i
LEFT JOIN unnest(%(ids)s::bigint[], %(issued)s::int[], %(sold)s::int[], %(decisions)s::bigint[])
       AS known (id, issued, sold, decisions) ON known.id = i.ticket_type_id
CROSS JOIN LATERAL (
    SELECT count(*) AS decisions,
           coalesce(sum(quantity) FILTER (WHERE status = 'confirmed'), 0) AS tickets
    FROM ticket_purchases p WHERE p.ticket_type_id = i.ticket_type_id
      AND p.decision_number > coalesce(known.decisions, %(new_from)s)
      AND p.decision_number <= i.decisions) since
WHERE (i.issued, i.sold, i.decisions)
    IS DISTINCT FROM (known.issued, known.sold, known.decisions)
"""

logger = get_logger(__name__)


class WatchedCounter(NamedTuple):
    """A ticket type's row in `ticket_inventory`, and what its recorded changes add up to."""

    issued: int
    sold: int
    decisions: int
    changes: int


UNSOLD = WatchedCounter(issued=0, sold=0, decisions=0, changes=0)


class Since(NamedTuple):
    """What was decided since the last check. `tickets`: those confirmed."""

    decisions: int
    tickets: int


def violated(before: WatchedCounter, now: WatchedCounter, since: Since) -> Iterator[str]:
    """The invariants that do not hold between two checks. Pure."""
    if since.decisions != now.decisions - before.decisions:
        yield NUMBERING
    adds_up = since.tickets == now.sold - before.sold and now.issued == now.changes
    if not adds_up or not 0 <= now.sold <= now.issued:
        yield INVENTORY


class CounterWatch:
    """Remembers each ticket type's counter from one check to the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[int, WatchedCounter] = {}
        # A ticket type that appears after the first check is checked from its first decision on.
        self._new: WatchedCounter | None = None

    def check(self) -> None:
        """Compare the counters with what was decided since the last check; log differences.

        Raises:
            DATABASE_UNAVAILABLE: the next check includes what this one did not read.
        """
        with statement(self._engine) as cursor:
            moved = list(_read(cursor, self._known, self._new))
        for ticket_type_id, now, since in moved:
            before = self._known.get(ticket_type_id, self._new)
            self._known[ticket_type_id] = now
            if before is None:
                continue
            metrics.AUDIT_CHECKED.inc(since.decisions)
            for invariant in violated(before, now, since):
                metrics.AUDIT_VIOLATIONS.labels(invariant).inc()
                logger.error(
                    "counters_differ",
                    invariant=invariant,
                    ticket_type=ticket_type_id,
                    before=before._asdict(),
                    now=now._asdict(),
                    decided_since=since._asdict(),
                )
        self._new = UNSOLD
        metrics.AUDIT_TIMESTAMP_SECONDS.set_to_current_time()


def _read(
    cursor: Cursor, known: dict[int, WatchedCounter], new: WatchedCounter | None
) -> Iterable[tuple[int, WatchedCounter, Since]]:
    counters = known.values()
    cursor.execute(
        READ_MOVED,
        {
            "ids": array_literal(known),
            "issued": array_literal(counter.issued for counter in counters),
            "sold": array_literal(counter.sold for counter in counters),
            "decisions": array_literal(counter.decisions for counter in counters),
            "new_from": new.decisions if new else None,
        },
    )
    for id_, issued, sold, decisions, changes, decided, tickets in cursor:
        yield id_, WatchedCounter(issued, sold, decisions, changes), Since(decided, tickets)
