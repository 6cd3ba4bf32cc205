"""docs/benchmark.json: the newest published value of every figure, and where it was measured.

The documents' figures come from it (`documents.py`), and a test checks that they agree.
"""

from pathlib import Path
from typing import Self

import msgspec

from loadtests.bench.report.figures import Target
from loadtests.bench.report.machine import Machine
from loadtests.bench.sizes import FULL
from shared.errors import ConfigurationError

DIGITS = 5


class Run(msgspec.Struct, frozen=True):
    """One run of the benchmark."""

    commit: str
    seconds: float
    cores: int
    cpu_model: str
    memory_gib: float
    kernel: str
    python: str
    postgresql: str


class PublishedFigure(msgspec.Struct, frozen=True, omit_defaults=True):
    """`run`: the time at which it began. `low` and `high` are the extremes of its `rounds`."""

    run: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    cpu_us: float | None = None
    target: Target | None = None


class MeasuredFigure(msgspec.Struct):
    """What is read of a figure in a report's bench.json."""

    unit: str
    values: list[float]
    median: float
    server_cpu_us_each: float | None = None
    target: Target | None = None


class Report(msgspec.Struct):
    """What is read of a report's bench.json."""

    measured_at: str
    seconds: float
    machine: Machine
    sizes: dict[str, object]
    figures: dict[str, MeasuredFigure]
    errors: list[str]


class Published(msgspec.Struct, frozen=True):
    """`runs`: by the time at which each began."""

    runs: dict[str, Run]
    figures: dict[str, PublishedFigure]

    @classmethod
    def read(cls, file: Path) -> Self:
        return msgspec.json.decode(file.read_bytes(), type=cls)

    def with_report(self, file: Path) -> "Published":
        """Its figures in the place of those of the same names.

        Raises:
            ConfigurationError: its figures are not valid, or of other sizes than the full ones.
        """
        report = msgspec.json.decode(file.read_bytes(), type=Report)
        _check(report, file)
        machine = report.machine
        run = Run(
            commit=str(machine.git_commit),
            seconds=round(report.seconds),
            cores=machine.cores,
            cpu_model=machine.cpu_model,
            memory_gib=machine.memory_gib,
            kernel=machine.kernel,
            python=machine.python,
            postgresql=machine.postgresql,
        )
        at = report.measured_at
        figures = self.figures | {
            name: _published(figure, at) for name, figure in report.figures.items()
        }
        used = {figure.run for figure in figures.values()}
        runs = {name: one for name, one in (self.runs | {at: run}).items() if name in used}
        return Published(runs, figures)

    def write(self, file: Path) -> None:
        """One figure a line, so that a change shows what changed."""
        runs, figures = (
            ",\n".join(
                f"    {_json(name)}: {_json(value)}" for name, value in sorted(values.items())
            )
            for values in (self.runs, self.figures)
        )
        text = f'{{\n  "runs": {{\n{runs}\n  }},\n  "figures": {{\n{figures}\n  }}\n}}\n'
        file.write_text(text)


def _check(report: Report, file: Path) -> None:
    full = msgspec.json.decode(msgspec.json.encode(FULL))
    if report.errors:
        raise ConfigurationError(f"{file} is not valid: {report.errors[0]}")
    # How many rounds there were is in each figure.
    sizes = {name: size for name, size in report.sizes.items() if not name.endswith("rounds")}
    if any(full.get(name, size) != size for name, size in sizes.items()):
        raise ConfigurationError(f"{file} is of other sizes than a full run's.")
    if report.machine.git_commit is None or report.machine.changed_since_commit:
        raise ConfigurationError(f"{file} was measured on code that is not committed.")


def _published(figure: MeasuredFigure, run: str) -> PublishedFigure:
    cpu = figure.server_cpu_us_each
    return PublishedFigure(
        run=run,
        unit=figure.unit,
        median=_short(figure.median),
        low=_short(min(figure.values)),
        high=_short(max(figure.values)),
        rounds=len(figure.values),
        cpu_us=None if cpu is None else round(cpu, 1),
        target=figure.target,
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode().replace("\n", " ")
