"""`make loadtest`: a rehearsal in the terminal, of the system that runs here or one of its own."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from loadtests.eventify_command import running_system, temporary_system
from loadtests.recording.database import DATABASE_URL

HERE = Path(__file__).parent


def main() -> None:
    """Run Locust with the arguments given; exit as it does.

    Without `--host` it tests the system that runs in EVENTIFY_HOME; where none does, one is brought
    up in a temporary folder, so that no operator's data is touched, and is gone at the end.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-H", "--host")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--report-dir", type=Path, default=None)
    ours, arguments = parser.parse_known_args()
    folder = ours.report_dir or HERE / "reports" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if ours.help:
        sys.exit(_locust(["--help"], dict(os.environ)))
    if ours.host is not None:
        sys.exit(_rehearse(ours.host, folder, arguments, dict(os.environ)))
    with _system() as (gateway_url, environment):
        exit_code = _rehearse(gateway_url, folder, arguments, environment)
    sys.exit(exit_code)


def _rehearse(host: str, folder: Path, arguments: list[str], environment: dict[str, str]) -> int:
    report = {"--report-dir": folder, "--csv": folder / "locust", "--html": folder / "locust.html"}
    options = [str(part) for pair in report.items() for part in pair]
    fixed = ["--headless", "--only-summary", "--host", host]
    return _locust([*fixed, *options, *arguments], environment)


@contextmanager
def _system() -> Iterator[tuple[str, dict[str, str]]]:
    """A running system: its gateway's URL, and the environment in which it is found.

    Its database is named there too, so that no process has to ask for it during a sale.
    """
    system = running_system()
    if system is not None:
        yield system["gateway_url"], os.environ | {DATABASE_URL: system["database_url"]}
        return
    click.echo("Nothing is running, so Eventify is brought up for this load test ...")
    with temporary_system("loadtest") as environment:
        system = running_system(environment)
        assert system is not None, "it was just brought up"
        yield system["gateway_url"], environment | {DATABASE_URL: system["database_url"]}
    click.echo("Eventify is stopped.")


def _locust(arguments: list[str], environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "locust", "--config", str(HERE / "locust.conf"), *arguments]
    locust = subprocess.Popen(command, env=environment)  # noqa: S603 - our own program
    # On a signal to stop, Locust ends its run and has it checked: its report is waited for.
    # Ctrl-C reaches it from the terminal.
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: locust.terminate())
    return locust.wait()


if __name__ == "__main__":
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, signal.default_int_handler)
    main()
