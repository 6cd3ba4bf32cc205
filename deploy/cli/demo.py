"""`eventify demo`: a real on-sale, on the running system or one of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import click
from rich.console import Console

from deploy.cli import connections
from deploy.cli.output import say
from deploy.cli.stop_signals import stop_interrupts, stop_noted
from deploy.local.environment import settings_of_running_system
from deploy.local.home import Home, find_home, running_state
from deploy.local.leftovers import unsupervised_processes
from deploy.local.servers.embedded import free_port
from deploy.local.up import Wish, start, stop
from loadtests.demo.run import DemoOptions, run_demo
from shared.errors import ConfigurationError
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
    help="Within how long all buyers press the button.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Who wants what, and when.")
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("demo.png"),
    show_default=True,
)
def demo(buyers: int, tickets: int, seconds: float, seed: int, chart: Path) -> None:
    """A real on-sale over HTTP: live, then summed up, audited, and drawn.

    Brings a system up if none runs, and takes it down again at the end.
    """
    restore_stop_signals()
    _check_chart(chart)
    options = DemoOptions(buyers, tickets, seconds, chart, seed)
    home = find_home()
    with _running_system(home) as gateway_url:
        settings = settings_of_running_system(home)
        with connections.database(settings) as engine:
            kept = run_demo(options, gateway_url, settings, engine, Console(highlight=False))
    sys.exit(0 if kept else 1)


@contextmanager
def _running_system(home: Home) -> Iterator[str]:
    """The gateway's URL of what runs in this home, or of what is brought up for this once."""
    state = running_state(home)
    if state is not None:
        yield state.gateway_url
        return
    if unsupervised_processes(home):
        raise ConfigurationError(
            "Eventify runs without its supervisor, which was killed. `eventify up` takes over."
        )
    say("Nothing is running, so Eventify is brought up for this demo:")
    wish = Wish("127.0.0.1", free_port(), gateways=1, workers=1)
    # Starting and stopping are not torn apart by a signal; what runs in between is.
    with stop_noted() as stop_requested:
        system = start(home, wish, say, stop_requested)
        try:
            with stop_interrupts():
                if stop_requested():
                    raise KeyboardInterrupt
                yield system.state.gateway_url
        finally:
            stop(system)
            say("Eventify is stopped.")


def _check_chart(chart: Path) -> None:
    """Fail before a sale is held that could then not be drawn.

    Raises:
        ConfigurationError: the folder does not exist or cannot be written, or no such chart can.
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
