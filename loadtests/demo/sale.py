"""What happened in a sale, as its buyers and its queue were seen; and the sums of it. Pure."""

import math
import random
from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    CONFIRMED = "confirmed"
    REJECTED = "rejected"  # queued, and decided against
    SOLD_OUT = "sold_out"  # refused at the door: nothing was stored
    FAILED = "failed"  # no answer that counts


# How many tickets a buyer wants: mostly one or two, as at any concert. A choice of ours.
QUANTITIES = {1: 50, 2: 30, 3: 12, 4: 8}


class Bought(msgspec.Struct, frozen=True):
    """One buyer's story; times in seconds since the sale opened."""

    asked_at: float  # when the buyer meant to press the button, not when the client got to it
    answered_at: float
    outcome: Outcome
    quantity: int
    retries: int

    @property
    def waited_seconds(self) -> float:
        return self.answered_at - self.asked_at


class Sample(msgspec.Struct, frozen=True):
    """The sale as its rows stood at one moment."""

    at: float
    left: int
    queued: int
    decisions: int


class Sale(msgspec.Struct):
    """The whole of it; grows while it runs."""

    tickets: int
    buyers: int
    bought: list[Bought]
    samples: list[Sample]

    def count(self, outcome: Outcome) -> int:
        return sum(1 for b in self.bought if b.outcome == outcome)


class Summary(msgspec.Struct, frozen=True):
    buyers: int
    tickets: int
    sold: int
    confirmed: int
    rejected: int
    sold_out: int
    failed: int
    retries: int
    seconds: float
    answers_per_second: float
    p50_ms: float
    p99_ms: float
    sold_out_after_seconds: float | None


class Wish(msgspec.Struct, frozen=True):
    """What a buyer wants, and when it presses the button, in seconds after the sale opens."""

    quantity: int
    presses_at: float


def wishes(buyers: int, over_seconds: float, seed: int) -> list[Wish]:
    """What the crowd wants; the same for the same seed."""
    chooser = random.Random(seed)  # noqa: S311 - a sale to show, not a secret
    quantities = chooser.choices(list(QUANTITIES), list(QUANTITIES.values()), k=buyers)
    return [Wish(quantity, chooser.uniform(0, over_seconds)) for quantity in quantities]


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of the values does not exceed; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)]


def summarise(sale: Sale) -> Summary:
    """The figures of a finished sale. Times run from each buyer's button to the decision."""
    decided = [b for b in sale.bought if b.outcome in (Outcome.CONFIRMED, Outcome.REJECTED)]
    waits_ms = [1000 * b.waited_seconds for b in decided]
    seconds = max((b.answered_at for b in sale.bought), default=0.0)
    sold_out = [sample.at for sample in sale.samples if sample.left == 0]
    return Summary(
        buyers=len(sale.bought),
        tickets=sale.tickets,
        sold=sum(b.quantity for b in sale.bought if b.outcome == Outcome.CONFIRMED),
        confirmed=sale.count(Outcome.CONFIRMED),
        rejected=sale.count(Outcome.REJECTED),
        sold_out=sale.count(Outcome.SOLD_OUT),
        failed=sale.count(Outcome.FAILED),
        retries=sum(b.retries for b in sale.bought),
        seconds=seconds,
        answers_per_second=len(sale.bought) / seconds if seconds else 0.0,
        p50_ms=percentile(waits_ms, 0.50),
        p99_ms=percentile(waits_ms, 0.99),
        sold_out_after_seconds=sold_out[0] if sold_out else None,
    )
