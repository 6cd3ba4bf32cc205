"""A sale as its buyers and its rows show it. Pure."""

import math
from collections.abc import Callable
from enum import StrEnum

import msgspec

from loadtests.recording.sampling import RowSample


class BuyerOutcome(StrEnum):
    CONFIRMED = "confirmed"
    REJECTED = "rejected"  # queued, and rejected when its turn came
    SOLD_OUT = "sold_out"  # answered at the edge: nothing was stored
    FAILED = "failed"  # no answer that counts


class BuyerResult(msgspec.Struct, frozen=True):
    """One buyer's purchase; times in seconds since the sale opened."""

    meant_at: float  # when the buyer meant to press the button, not when the client got to it
    answered_at: float
    outcome: BuyerOutcome
    quantity: int
    retries: int

    @property
    def waited_ms(self) -> float:
        return 1000 * (self.answered_at - self.meant_at)


class DemoSale(msgspec.Struct):
    """The whole sale; grows while it runs.

    Attributes:
        samples: of the rows; times in seconds since the sale opened.
        opened_at: on the monotonic clock; None before.
    """

    tickets: int
    buyers: int
    opened_at: float | None = None
    results: list[BuyerResult] = []
    samples: list[RowSample] = []

    def count(self, outcome: BuyerOutcome) -> int:
        return sum(result.outcome is outcome for result in self.results)

    @property
    def sold(self) -> int:
        """Tickets, as buyers were answered."""
        confirmed = (r for r in self.results if r.outcome is BuyerOutcome.CONFIRMED)
        return sum(result.quantity for result in confirmed)

    @property
    def seconds(self) -> float:
        return max((result.answered_at for result in self.results), default=0.0)

    @property
    def sold_out_after_seconds(self) -> float | None:
        return next((sample.at for sample in self.samples if sample.left == 0), None)

    @property
    def decisions_per_second(self) -> float:
        """Over the last half second of samples."""
        recent = self.samples[-10:]
        if len(recent) < 2:
            return 0.0
        return (recent[-1].decisions - recent[0].decisions) / (recent[-1].at - recent[0].at)

    def percentile_ms(self, *outcomes: BuyerOutcome) -> Callable[[float], float]:
        """From a share to the wait that this share of them did not exceed; 0 for none."""
        waits = sorted(result.waited_ms for result in self.results if result.outcome in outcomes)
        return lambda share: waits[max(0, math.ceil(len(waits) * share) - 1)] if waits else 0.0
