"""Counts purchases that are refused before they are queued, of which no row is left.

Each process counts in memory, and adds its sums to the table every few seconds: a console sees
those of all gateways.
"""

from collections import Counter
from typing import Final

from psycopg2.errors import ForeignKeyViolation
from sqlalchemy import Engine

from gateway.live import refusal_store
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.periodic import Periodic
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN
from shared.errors import (
    AllHeld,
    NotEnoughTickets,
    NotYourEvent,
    OverUserLimit,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    TooManyExpiredHolds,
    TooManyRequests,
    Unavailable,
)
from shared.observability.logging import get_logger

# What only a ticket type that there is can be refused with.
OF_A_SALE: Final = frozenset(
    problem.code
    for problem in (
        *(AllHeld, NotEnoughTickets, SaleClosed, SaleNotOpen, SalePaused),
        *(OverUserLimit, TooManyExpiredHolds),
    )
)
# The first line of a cart may be invented where another one is of somebody else's event.
COUNTED: Final = OF_A_SALE | {NotYourEvent.code, TooManyRequests.code}
# Of ticket types that may not exist, between two writes: a flood of invented ones is not counted.
INVENTED_MAX: Final = 1_000
COMPACT_EVERY: Final = 30

logger = get_logger(__name__)


class EdgeRefusals:
    """Of one event loop; `writes` has to be started."""

    def __init__(self, engine: Engine, threads: BoundedExecutor) -> None:
        self._engine = engine
        self._threads = threads
        self.counts: Counter[tuple[int, str]] = Counter()
        self._turns = 0
        self._has_more = False
        self.writes = Periodic(
            self.write, refusal_store.NARROW_SECONDS, logger, "refusals_not_counted"
        )

    def count(self, ticket_type: int, code: str) -> None:
        """On the way of every refusal."""
        if code not in COUNTED:
            return
        key = (ticket_type, code)
        if code in OF_A_SALE or key in self.counts or len(self.counts) < INVENTED_MAX:
            self.counts[key] += 1

    async def write(self) -> None:
        """Add the sums to the table; they are kept where that fails."""
        counts, self.counts = self.counts, Counter()
        self._turns += 1
        try:
            if counts:
                await self._threads.run(refusal_store.add, self._engine, counts)
                counts.clear()  # whatever becomes of the rest
            if self._has_more or self._turns % COMPACT_EVERY == 0:
                self._has_more = await self._threads.run(refusal_store.compact, self._engine)
        except (Unavailable, ForeignKeyViolation, *TRY_AGAIN, *DATABASE_UNAVAILABLE) as error:
            self.counts += counts
            logger.warning("refusals_not_counted", error=repr(error))
