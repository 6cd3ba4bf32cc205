"""What the buyers of a round saw, and what the rows say: everything that a check is made from."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

# Of each line the ticket type and a number of tickets.
Lines = list[list[int]]


class Fate(StrEnum):
    """What a buyer knows of a request."""

    ACKNOWLEDGED = auto()  # 201, 202, a replay, or a rejection that was waited for
    ERROR = auto()  # 4xx: nothing was stored
    UNAVAILABLE = auto()  # 503: retry with the same key
    UNKNOWN = auto()  # no answer


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to buy. Times are `time.monotonic()` of the one process that holds all buyers.

    `request_id` is its own, and stands in the row that it made, if it made one. `purchase_id`: what
    the answer named. `code`: of a problem.
    """

    request_id: str
    user_id: int
    lines: Lines
    key: str
    sent_at: float
    answered_at: float
    fate: Fate
    status: int | None = None
    purchase_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`decided_at` None: the answer did not have it."""

    status: str
    reason: str | None
    decided_at: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A decided purchase, as it was shown. `by`: to whom."""

    purchase_id: str
    outcome: Outcome
    seen_at: float
    by: str = "a buyer"


@dataclass(frozen=True, slots=True)
class HoldEnd:
    """What a buyer or shop was told who wanted to end a hold: `action` is `confirm` or `release`.

    `reference`: of the payment.
    """

    purchase_id: str
    action: str
    reference: str
    status: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """An answer of a gateway that needs neither PostgreSQL nor Redis."""

    sent_at: float
    answered_at: float


@dataclass(slots=True)
class History:
    """Grows while the buyers buy."""

    attempts: list[Attempt] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    # Purchases whose result was published while their rows were still queued.
    published_too_early: list[str] = field(default_factory=list)
    pulses: list[Pulse] = field(default_factory=list)
    hold_ends: list[HoldEnd] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """A purchase with one of its entries; without one it is queued.

    `changes`: what the entry did to each of its ticket types. `ended`: what became of its hold, by
    a later entry. `paid_by`: the reference of that payment.
    """

    id: str
    request_id: str
    user_id: int
    event_id: int
    lines: Lines
    key: str | None
    status: str
    reason: str | None
    decided_at: str | None
    number: int | None
    changes: Lines
    ended: str | None = None
    paid_by: str | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    """What a ticket type's counter says."""

    ticket_type_id: int
    issued: int
    held: int
    sold: int


@dataclass(frozen=True, slots=True)
class Lane:
    """An event: the number of its newest entry as its lane says, and those of all its entries."""

    event_id: int
    number: int
    numbers: list[int]


@dataclass(frozen=True, slots=True)
class Window:
    """From the moment when a fault had struck to the moment when its healing began."""

    struck_at: float
    heals_at: float

    def holds(self, attempt: Attempt) -> bool:
        """Whether all of it happened while the fault lasted."""
        return self.struck_at <= attempt.sent_at and attempt.answered_at <= self.heals_at

    def touches(self, pulse: Pulse) -> bool:
        """Whether some of it happened while the fault lasted."""
        return pulse.sent_at <= self.heals_at and self.struck_at <= pulse.answered_at


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What a receiver got of an event: entries in the order in which they came; and its ledger."""

    event_id: int
    entries: list[dict[str, Any]]
    ledger: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of a round, when it is over."""

    history: History
    rows: list[Row]
    counters: list[Counter]
    lanes: list[Lane] = field(default_factory=list)
    # What the product's own replay found.
    replay: list[str] = field(default_factory=list)
    deliveries: list[Deliveries] = field(default_factory=list)
