"""`eventify demo`: a real on-sale, on the running system or one of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import click
from rich.console import Console

from deploy.cli.output import say
from deploy.cli.stop_signals import stop_interrupts, stop_noted
from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import Home, find_home, running_state
from deploy.local.leftovers import unsupervised_processes
from deploy.local.up import UpOptions, follow, start, stop
from loadtests.demo.run import DemoOptions, run_demo
from shared.errors import ConfigurationError
from shared.free_port import free_port
from shared.process import restore_stop_signals

CHART_FORMATS = (".png", ".svg", ".pdf")


@click.command()
@click.option("--buyers", type=click.IntRange(1, 100_000), default=5_000, show_default=True)
@click.option("--tickets", type=click.IntRange(0, 1_000_000), default=500, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3_600),
    default=3.0,
    show_default=True,
    help="The time within which all buyers send their requests.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Of the buyers' quantities and times.",
)
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("demo.png"),
    show_default=True,
)
@click.option(
    "--watch",
    is_flag=True,
    help="Watch it in the console: the rush waits for your browser, and the system stays up.",
)
def demo(buyers: int, tickets: int, seconds: float, seed: int, chart: Path, *, watch: bool) -> None:
    """Run an on-sale over HTTP, live, and print a summary and the audit; draw a chart.

    Starts a system if none is running, and stops it at the end.
    """
    restore_stop_signals()
    _check_chart(chart)
    options = DemoOptions(buyers, tickets, seconds, chart, seed, watch)
    home = find_home()
    with _running_system(home, stays_up=watch) as gateway_url:
        settings = settings_of_running_system(home)
        with database(settings) as engine:
            kept = run_demo(options, gateway_url, settings, engine, Console(highlight=False))
    sys.exit(0 if kept else 1)


@contextmanager
def _running_system(home: Home, *, stays_up: bool) -> Iterator[str]:
    """The gateway's URL of the running system, or of one that runs for this block.

    `stays_up`: and then until Ctrl-C.
    """
    state = running_state(home)
    if state is not None:
        yield state.gateway_url
        return
    if unsupervised_processes(home):
        raise ConfigurationError(
            "Eventify is running without its supervisor. `eventify up` takes over."
        )
    say("Nothing is running; starting Eventify for this demo:")
    up_options = UpOptions("127.0.0.1", free_port(), gateways=1, workers=1)
    # A signal interrupts the demo, but neither start nor stop.
    with stop_noted() as stop_requested:
        system = start(home, up_options, say, stop_requested)
        try:
            with stop_interrupts():
                if stop_requested():
                    raise KeyboardInterrupt
                yield system.state.gateway_url
            if stays_up:
                say("\nEventify stays up, to look at. Ctrl-C stops it.")
                follow(system, say, stop_requested)
        finally:
            stop(system)
            say("Eventify is stopped.")


def _check_chart(chart: Path) -> None:
    """
    Raises:
        ConfigurationError: the file cannot be written, or its format is unknown.
    """
    if chart.suffix.lower() not in CHART_FORMATS:
        raise ConfigurationError(
            f"Cannot draw {chart}: its name must end in {', '.join(CHART_FORMATS)}."
        )
    try:
        with TemporaryFile(dir=chart.parent):
            pass
    except OSError as error:
        raise ConfigurationError(f"Cannot write {chart}: {error.strerror}.") from error
