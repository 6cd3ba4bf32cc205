"""Contenders take turns: A B C, C B A, ... so that what slows the machine, slows all of them.

Whoever is first in a round finds fewer rows than the others.
"""

import re
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from loadtests.bench.load.tally import LoadRun
from loadtests.bench.report.figures import Figure

PER_SECOND = re.compile(r"_(requests|purchases|decisions)_per_second$")


class TurnResult(msgspec.Struct, frozen=True):
    """One turn. `seconds`: of the whole work, which may go on after the last answer.

    `server_cpu_seconds`: of every process that worked for it, or of those that its name says.
    `cpu_of_services`: CPU seconds of each service, where they were told apart.
    """

    done: int
    seconds: float
    server_cpu_seconds: float
    run: LoadRun | None = None
    cpu_of_services: dict[str, float] = {}

    @property
    def per_second(self) -> float:
        return self.done / self.seconds


class Contender(msgspec.Struct, frozen=True):
    """`name` is the figure's, with its unit."""

    name: str
    label: str
    take_turn: Callable[[], TurnResult]


class Measured(msgspec.Struct, frozen=True):
    """All turns of a contender."""

    contender: Contender
    samples: list[TurnResult]

    @property
    def rates(self) -> list[float]:
        return [sample.per_second for sample in self.samples]

    def figure(self, unit: str) -> Figure:
        runs = [sample.run for sample in self.samples if sample.run is not None]
        return Figure(
            name=self.contender.name,
            label=self.contender.label,
            unit=unit,
            values=self.rates,
            server_cpu_us_each=median(1e6 * s.server_cpu_seconds / s.done for s in self.samples),
            generator_cpu_share=median(r.generator_cpu_share for r in runs) if runs else None,
        )

    def costs(self, *services: str) -> list[Figure]:
        """CPU time of each of these services for each request."""
        name = PER_SECOND.sub("", self.contender.name)
        return [
            Figure(
                name=f"{name}_cpu_of_{service}_us",
                label=f"CPU of {service}, {self.contender.label}",
                unit="us",
                values=[1e6 * s.cpu_of_services[service] / s.done for s in self.samples],
            )
            for service in services
        ]


def take_turns(
    contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]
) -> dict[str, Measured]:
    """So many rounds of all contenders; by name, what each of them did."""
    measured = {one.name: Measured(one, []) for one in contenders}
    for number in range(1, rounds + 1):
        for one in contenders if number % 2 else reversed(contenders):
            sample = one.take_turn()
            measured[one.name].samples.append(sample)
            say(f"  {number}/{rounds}  {one.label:<58} {sample.per_second:>9,.0f} /s")
    return measured
