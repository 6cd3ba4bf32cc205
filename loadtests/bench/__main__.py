"""`python -m loadtests.bench [--quick]`: measures everything side by side, once, in minutes."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console

from loadtests.bench.measure import ALL_PARTS, measure_all
from loadtests.bench.publish import publish
from loadtests.bench.report.chart import draw
from loadtests.bench.report.machine import PROJECT
from loadtests.bench.report.results import table, write_json
from loadtests.bench.sizes import FULL, QUICK

REPORTS = Path(__file__).parent.parent / "reports"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Smaller and shorter: under two minutes.")
@click.option(
    "--only", multiple=True, type=click.Choice(ALL_PARTS), help="This part; may be repeated."
)
@click.option("--connections", type=int, help="Of a closed loop, instead of 256.")
@click.option(
    "--publish", "publishes", is_flag=True, help="Write the figures into the documents, too."
)
def main(quick: bool, only: tuple[str, ...], connections: int | None, publishes: bool) -> None:
    """Measure Eventify beside a bare ASGI function and a straightforward design.

    Everything runs on servers of its own, which are gone at the end. Exit code 1 when any answer
    was not as expected; a missed target is none.
    """
    if publishes and (quick or connections is not None):
        raise click.UsageError("Only figures of the full sizes are published.")
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, signal.default_int_handler)
    # Wide enough for the table also where the output is no terminal.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    measured_at = datetime.now(UTC)
    sizes = QUICK if quick else FULL
    if connections is not None:
        sizes = msgspec.structs.replace(sizes, connections=connections)
    report = measure_all(sizes, only or ALL_PARTS, console.print, measured_at)
    folder = REPORTS / f"bench-{measured_at:%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True)
    write_json(report, folder / "bench.json")
    draw(report, folder / "bench.png")
    console.print()
    console.print(table(report))
    console.print(f"\nMeasured in {report.seconds:.0f} s. Report: {folder}")
    for error in report.errors:
        console.print(f"[red]Not as expected:[/] {error}", markup=True)
    if publishes and not report.errors:
        publish([folder / "bench.json"], PROJECT)
    sys.exit(1 if report.errors else 0)


if __name__ == "__main__":
    main()
