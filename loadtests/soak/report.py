"""The result of a soak, and its JSON file."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from loadtests.bench.report.machine import Machine
from loadtests.soak.load.tally import Minute
from loadtests.soak.sampling.sample import Sample
from loadtests.soak.verdict.trends import Verdict


class SoakReport(msgspec.Struct, frozen=True, kw_only=True):
    """`errors`: what was not as expected, a broken promise among it.

    Attributes:
        seconds: of load; fewer than asked for where it was stopped.
        settings: of the system, where they are not its defaults.
        generator_cpu_share: of one core.
    """

    measured_at: str
    seconds: float
    per_second: float
    settings: Mapping[str, str]
    machine: Machine
    samples: list[Sample]
    minutes: list[Minute]
    verdicts: list[Verdict]
    errors: list[str]
    generator_cpu_share: float

    @property
    def growing(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.grows]

    @property
    def is_good(self) -> bool:
        return not self.errors and not self.growing

    @property
    def counts(self) -> dict[str, int]:
        """Of all minutes."""
        total: dict[str, int] = {}
        for minute in self.minutes:
            for what, count in minute.counts.items():
                total[what] = total.get(what, 0) + count
        return total


def write_json(report: SoakReport, file: Path) -> None:
    file.write_bytes(msgspec.json.encode(report))
