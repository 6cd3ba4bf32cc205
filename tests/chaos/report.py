"""Adds rounds up, and writes them as the tables of docs/faults.md. Pure."""

from collections import Counter as Count
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.round import Caught, Result


@dataclass(slots=True)
class _Tally:
    """Of one fault. `slowest_seconds`: the longest recovery of a round in which it struck."""

    alone: int = 0
    paired: int = 0
    strikes: int = 0
    slowest_seconds: float = 0.0
    violations: int = 0


@dataclass(slots=True)
class Report:
    """What all rounds together say."""

    _tallies: dict[str, _Tally] = field(default_factory=dict)
    _purchases: int = 0
    _rounds: int = 0
    _fates: Count[str] = field(default_factory=Count)
    _answers: Count[str] = field(default_factory=Count)

    def add(self, result: Result) -> None:
        self._rounds += 1
        self._purchases += result.purchases
        self._fates += result.fates
        self._answers += result.answers
        for name, strikes in zip(result.faults, result.strikes, strict=True):
            tally = self._tallies.setdefault(name, _Tally())
            tally.alone += len(result.faults) == 1
            tally.paired += len(result.faults) > 1
            tally.strikes += strikes
            tally.slowest_seconds = max(tally.slowest_seconds, result.recovered_seconds or 0.0)
            tally.violations += len(result.violations)

    @property
    def ok(self) -> bool:
        """No promise was broken, and every fault really struck."""
        return all(t.strikes and not t.violations for t in self._tallies.values())

    def table(self) -> str:
        lines = [
            f"{self._rounds} rounds, {self._purchases:,} purchases: {_counts(self._fates)}.",
            *([f"Answers: {_counts(self._answers)}."] if self._answers else []),
            "",
            "| fault | rounds alone | in pairs | strikes | slowest recovery | violations |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {name} | {t.alone} | {t.paired} | {t.strikes:,} | {t.slowest_seconds:.1f} s"
            f" | {t.violations} |"
            for name, t in self._tallies.items()
        ]
        return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def control_table(caught: Mapping[str, Caught]) -> str:
    lines = ["| broken on purpose | caught in round | by |", "| --- | ---: | --- |"]
    for name, each in caught.items():
        promises = dict.fromkeys(violation.promise for violation in each.violations)
        lines.append(f"| {name} | {each.round} | {'; '.join(promises) or 'nothing: not caught'} |")
    return "\n".join(lines)
