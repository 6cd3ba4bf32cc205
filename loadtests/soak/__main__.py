"""`python -m loadtests.soak [--minutes 60] [--rate 300]`: what grows while sales go on?"""

import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from loadtests.soak.chart import draw
from loadtests.soak.report import SoakReport, write_json
from loadtests.soak.run import SoakOptions, run_soak

# Of what does not grow; the rest is in the file.
SHOWN = ("memory of", "WAL", "p99", "size of refresh_tokens", "size of work_list", "connections")
REPORTS = Path(__file__).parent.parent / "reports"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--minutes",
    # The organiser's key is valid for a day.
    type=click.FloatRange(min=0.2, max=1_200),
    default=60.0,
    show_default=True,
)
@click.option(
    "--rate",
    type=click.FloatRange(min=1.0),
    default=300.0,
    show_default=True,
    help="Purchases a second.",
)
def main(minutes: float, rate: float) -> None:
    """Sell for an hour at a constant rate, and judge what grows.

    Everything runs on a system of its own, which is gone at the end. Ctrl-C ends the load, and what
    was seen by then is judged. Exit code 1 when something grows without bound, or was not as
    expected.
    """
    stopped = threading.Event()
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, lambda number, frame: _stop(stopped, number, frame))
    console = Console(highlight=False, soft_wrap=True)
    options = SoakOptions(minutes, rate, datetime.now(UTC))
    report = run_soak(options, console.print, stopped)
    folder = REPORTS / f"soak-{options.measured_at:%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True)
    write_json(report, folder / "soak.json")
    draw(report, folder / "soak.png")
    _show(report, console)
    console.print(f"Report: {folder}")
    sys.exit(0 if report.is_good else 1)


def _stop(stopped: threading.Event, number: int, frame: object) -> None:
    """The second time at once."""
    if stopped.is_set():
        raise KeyboardInterrupt
    stopped.set()


def _show(report: SoakReport, console: Console) -> None:
    counts = sorted(report.counts.items(), key=lambda counted: -counted[1])
    console.print(", ".join(f"{what} {count:,}" for what, count in counts))
    for verdict in report.verdicts:
        if verdict.grows or verdict.curve.startswith(SHOWN):
            console.print(f"{'[red]grows[/]' if verdict.grows else 'ok   '}  {verdict.sentence}")
    console.print(
        f"{report.seconds / 60:.1f} minutes at {report.per_second:g} purchases/s:"
        f" {len(report.growing)} of {len(report.verdicts)} curves grow without bound;"
        f" the generator took {report.generator_cpu_share:.0%} of a core"
    )
    for error in report.errors:
        console.print("[red]Not as expected:[/]", escape(error))


if __name__ == "__main__":
    main()
