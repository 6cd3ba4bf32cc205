"""The answers of one run."""

import math
import time
from array import array
from collections import Counter

import msgspec

from loadtests.answers import ClientResponse
from loadtests.bench.load.latency import LatencySummary, latency

# Shown of an unexpected answer.
SHOWN_BODY_BYTES = 200


class SlowAnswer(msgspec.Struct, frozen=True):
    """Times of the clock that all processes of a machine share."""

    intended_at: float
    sent_at: float
    answered_at: float
    body: bytes


class LoadRun(msgspec.Struct, frozen=True):
    """One run of the generator.

    `began_at` is on the clock that all processes of a machine share (`time.monotonic`).
    `generator_cpu_share`: of one core. `errors`: each kind of answer that was not expected.
    `slow`: answers that took longer than was asked for.
    """

    began_at: float
    seconds: float
    answers: dict[int, int]
    latency: LatencySummary
    generator_cpu_share: float
    errors: list[str]
    slow: list[SlowAnswer] = []

    @property
    def answered(self) -> int:
        return sum(self.answers.values())

    @property
    def answers_per_second(self) -> float:
        return self.answered / self.seconds


class Tally:
    """Counts answers while a run goes on; the arithmetic is left for afterwards."""

    def __init__(self, expected: frozenset[int], slow_seconds: float = math.inf) -> None:
        self._expected = expected
        self._slow_seconds = slow_seconds
        self._slow: list[SlowAnswer] = []
        self._statuses: Counter[int] = Counter()
        self._seconds = array("d")
        self._unexpected: dict[str, str] = {}
        self._unexpected_count: Counter[str] = Counter()

    def answer(self, answer: ClientResponse, intended_at: float, sent_at: float) -> None:
        now = time.monotonic()
        self._statuses[answer.status] += 1
        self._seconds.append(now - intended_at)
        if now - intended_at > self._slow_seconds:
            self._slow.append(SlowAnswer(intended_at, sent_at, now, answer.body))
        if answer.status not in self._expected:
            example = answer.body[:SHOWN_BODY_BYTES].decode(errors="replace")
            self.error(f"status {answer.status}", example)

    def error(self, kind: str, example: str) -> None:
        self._unexpected.setdefault(kind, example)
        self._unexpected_count[kind] += 1

    def run(self, began_at: float, seconds: float, cpu_seconds: float) -> LoadRun:
        return LoadRun(
            began_at=began_at,
            seconds=seconds,
            answers=dict(self._statuses),
            latency=latency(self._seconds),
            generator_cpu_share=cpu_seconds / seconds,
            errors=[
                f"{count} times {kind}, first: {self._unexpected[kind]}"
                for kind, count in self._unexpected_count.items()
            ],
            slow=self._slow,
        )
