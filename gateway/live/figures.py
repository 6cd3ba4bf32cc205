"""The figures of a sale at a moment, and the document that its owner reads. Pure."""

from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from gateway.sales.rules import SaleTicketType, state_of

# Rates are those of the last few seconds.
RATE_SAMPLES: Final = 6


class LiveTicketType(SaleTicketType, frozen=True, kw_only=True):
    """`queued`: purchases; None where the queue is too long to look at each."""

    issued: int
    sold: int
    queued: int | None = 0
    oldest_queued_seconds: float | None = 0.0


class Webhooks(msgspec.Struct, frozen=True):
    """Those that are enabled. `behind_`: the one that is furthest behind."""

    count: int
    failing: int
    behind_entries: int
    behind_seconds: float


class Figures(msgspec.Struct, frozen=True):
    """What was read at `now`, seconds since 1970. `queued`: None where there are too many.

    `number`: of the newest entry. `refusals`: purchases that were not queued, by code.
    `ticket_types`: the first of them; totals are of all.
    """

    now: float
    owner_id: int
    end_time: datetime
    number: int
    issued: int
    held: int
    sold: int
    queued: int | None
    oldest_queued_seconds: float
    ticket_types: tuple[LiveTicketType, ...]
    seconds_to_decision: tuple[float, float] | None = None
    webhooks: Webhooks | None = None
    refusals: Mapping[str, int] = {}
    audit: msgspec.Raw | None = None


class Rates(NamedTuple):
    """A second; None: not known."""

    accepted: float | None = None
    decided: float | None = None


class Pulse:
    """Rates of acceptance and of decisions, from the last samples."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int | None]] = deque(maxlen=RATE_SAMPLES)

    def rates(self, now: float, decided: int, queued: int | None) -> Rates:
        """Args: decided: purchases since the beginning; queued: how many are now."""
        accepted = None if queued is None else decided + queued
        self._seen.append((now, decided, accepted))
        began, decided_then, accepted_then = self._seen[0]
        seconds = now - began
        if seconds <= 0:
            return Rates()
        return Rates(
            None
            if accepted is None or accepted_then is None
            else round(max(0, accepted - accepted_then) / seconds, 1),
            round(max(0, decided - decided_then) / seconds, 1),
        )


def written(seconds: float) -> str:
    """As clients read times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def live_document(
    event_id: int, figures: Figures, rates: Rates, refused: Counter[str]
) -> dict[str, Any]:
    """Args: refused: in the ledger, by code."""
    now = datetime.fromtimestamp(figures.now, UTC)
    p50, p99 = figures.seconds_to_decision or (None, None)
    return {
        "event": event_id,
        "at": written(figures.now),
        "stale": False,
        "ticket_types": [
            {
                "id": one.id,
                "name": one.name,
                "state": state_of(one, figures.end_time, now),
                "paused": one.paused,
                "issued": one.issued,
                "left": one.left,
                "held": one.held,
                "confirmed": one.sold,
                "queued": one.queued,
                "waiting": 0,
                "oldest_queued_seconds": one.oldest_queued_seconds,
            }
            for one in figures.ticket_types
        ],
        "issued": figures.issued,
        "left": figures.issued - figures.held - figures.sold,
        "held": figures.held,
        "confirmed": figures.sold,
        "queued": figures.queued,
        "waiting": 0,
        "oldest_queued_seconds": figures.oldest_queued_seconds,
        "accepted_per_second": rates.accepted,
        "decided_per_second": rates.decided,
        "p50_seconds": p50,
        "p99_seconds": p99,
        "refusals": refused + Counter(figures.refusals),
        "webhooks": figures.webhooks,
        "audit": figures.audit,
    }
