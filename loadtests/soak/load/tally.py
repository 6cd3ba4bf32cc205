"""What the load saw: counts, latencies of each minute, and what was not as expected."""

import time
from array import array
from collections import Counter

import msgspec

from loadtests.bench.load.latency import LatencySummary, latency

SHOWN_BODY_BYTES = 200
# Of all purchases: what a busy system may refuse with 503.
REFUSED_SHARE_MAX = 0.01
NOTHING_DECIDED = "No purchase was decided"


class Minute(msgspec.Struct, frozen=True):
    """Or another bucket of time; `at`: seconds from the start, of its end.

    `accepted`, `decided`: from the intended moment; None if there was none.
    """

    at: float
    seconds: float
    accepted: LatencySummary | None
    decided: LatencySummary | None
    counts: dict[str, int]


class LoadReport(msgspec.Struct, frozen=True):
    """`errors`: each kind of answer that was not expected, with its first example; and that nothing
    was decided, or too much refused: the latencies are of the rest.

    `began_at`: when the first buyer could come, on the clock that all processes share.
    """

    began_at: float
    minutes: list[Minute]
    errors: list[str]
    cpu_seconds: float


class LoadTally:
    """All moments are on the clock that the processes of a machine share."""

    def __init__(self) -> None:
        self.minutes: list[Minute] = []
        self._accepted, self._decided = array("d"), array("d")
        self._counts: Counter[str] = Counter()
        self._answers: Counter[int] = Counter()
        self._any_decided = False
        self._errors: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def begin(self) -> None:
        """What was counted before is none of the load."""
        self.began_at = self._minute_began_at = time.monotonic()
        self._counts.clear()

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def answered(self, status: int) -> None:
        """The POST of a purchase, with this status."""
        self._answers[status] += 1

    def accepted(self, intended_at: float) -> None:
        self._accepted.append(time.monotonic() - intended_at)

    def decided(self, intended_at: float) -> None:
        self._decided.append(time.monotonic() - intended_at)
        self._any_decided = True

    def error(self, kind: str, example: str) -> None:
        self._errors[kind] += 1
        self._examples.setdefault(kind, example[:SHOWN_BODY_BYTES])

    def end_minute(self) -> None:
        now = time.monotonic()
        self.minutes.append(
            Minute(
                at=now - self.began_at,
                seconds=now - self._minute_began_at,
                accepted=latency(self._accepted) if self._accepted else None,
                decided=latency(self._decided) if self._decided else None,
                counts=dict(self._counts),
            )
        )
        self._minute_began_at = now
        self._accepted, self._decided = array("d"), array("d")
        self._counts.clear()

    def report(self) -> LoadReport:
        errors = [
            f"{count} times {kind}, first: {self._examples[kind]}"
            for kind, count in self._errors.items()
        ]
        if not self._any_decided:
            errors.append(NOTHING_DECIDED)
        asked, refused = self._answers.total(), self._answers[503]
        if refused > REFUSED_SHARE_MAX * asked:
            errors.append(f"{refused:,} of {asked:,} purchases were refused with 503")
        return LoadReport(self.began_at, self.minutes, errors, time.process_time())
