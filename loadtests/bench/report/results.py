"""The result of a benchmark: a table in the terminal, and a JSON file."""

from pathlib import Path

import msgspec
from rich.table import Table

from loadtests.bench.report.figures import Bound, Figure, as_read
from loadtests.bench.report.machine import Machine
from loadtests.bench.sizes import Sizes

# Beside the measured share, for it is no target but a mark of a sound measurement.
MET = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


class PartResult(msgspec.Struct, frozen=True):
    title: str
    seconds: float
    figures: list[Figure]


class BenchReport(msgspec.Struct, frozen=True):
    """`errors`: what was not as expected; with any, the figures are not to be trusted."""

    measured_at: str
    seconds: float
    machine: Machine
    sizes: Sizes
    parts: list[PartResult]
    errors: list[str]

    @property
    def figures(self) -> list[Figure]:
        return [figure for part in self.parts for figure in part.figures]

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)


def table(report: BenchReport) -> Table:
    rich = Table(box=None, header_style="bold", pad_edge=False)
    rich.add_column("what")
    for column in ("median", "from", "to", "", "target", "", "server CPU", "generator"):
        rich.add_column(column, justify="right" if column else "left", no_wrap=True)
    for part in report.parts:
        rich.add_row(f"[bold]{part.title}[/] ({part.seconds:.0f} s)")
        for figure in part.figures:
            rich.add_row(*_row(figure))
        rich.add_section()
    return rich


def write_json(report: BenchReport, file: Path) -> None:
    """The whole report; each figure under its name, which ends with its unit."""
    figures = {
        figure.name: msgspec.to_builtins(figure)
        | {"median": figure.median, "target_met": figure.meets_target}
        for figure in report.figures
    }
    fields = msgspec.to_builtins(report)
    del fields["parts"]
    file.write_bytes(msgspec.json.format(msgspec.json.encode(fields | {"figures": figures})))


def _row(figure: Figure) -> list[str]:
    values = figure.values
    spread = [as_read(min(values)), as_read(max(values))] if len(values) > 1 else ["", ""]
    cpu, share = figure.server_cpu_us_each, figure.generator_cpu_share
    return [
        f"  {figure.label}",
        as_read(figure.median),
        *spread,
        figure.unit,
        _target(figure),
        MET[figure.meets_target],
        "" if cpu is None else f"{cpu:,.0f} us",
        "" if share is None else f"{share:.0%}",
    ]


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    sign = ">=" if figure.target.bound is Bound.AT_LEAST else "<="
    return f"{sign} {figure.target.value:,g}"
