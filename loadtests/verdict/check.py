"""`python -m loadtests.verdict.check FOLDER`: judges a recorded run against the database.

A program of its own, because psycopg2 would stop every user of a Locust process while it waits. It
may be run again at any time: the folder keeps what buyers saw.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from sqlalchemy import Engine

from loadtests.recording.database import open_database
from loadtests.recording.observations import ACCEPTED, REFUSED, Seen
from loadtests.recording.run import OBSERVATIONS_FILE, RecordedRun, read
from loadtests.verdict.judge import RunVerdict, judge
from loadtests.verdict.promises import (
    Broken,
    Findings,
    Promise,
    broken_by_counters,
    broken_by_purchases,
)
from loadtests.verdict.rows import CHUNK_ROWS, chunks, read_counters, read_rows, still_queued
from loadtests.verdict.summary import show, write_csv, write_summary
from purchase_worker.audit.all_events import audit
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import ConfigurationError

# A queue of 100,000 drains in half of it on two cores; what is queued longer is stuck.
DRAIN_SECONDS = 60.0
POLL_SECONDS = 0.25
# Without it, nothing that the run recorded could be judged.
NOT_A_RUN = 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=DRAIN_SECONDS,
    show_default=True,
    help="How long the queue may still take until all is decided.",
)
def main(folder: Path, drain_seconds: float) -> None:
    """Check the run that was recorded in FOLDER, and write its summary and its chart there.

    Its database is the one of EVENTIFY_DATABASE_URL, or that of the system running here. Exit code
    0: good, 1: errors, 2: a promise was broken, 3: a threshold was missed.
    """
    try:
        run = read(folder)
    except (OSError, msgspec.MsgspecError) as error:
        raise click.ClickException(f"{folder} holds no recorded run: {error}") from error
    verdict = check(run, folder, drain_seconds)
    write_summary(run, verdict, folder)
    write_csv(run, folder)
    # Slow to import, and nothing before needs it.
    from loadtests.verdict.chart import draw  # noqa: PLC0415

    draw(run, verdict, folder)
    show(run, verdict, folder, Console(highlight=False, width=None if sys.stdout.isatty() else 100))
    sys.exit(verdict.exit_code)


def check(run: RecordedRun, folder: Path, drain_seconds: float) -> RunVerdict:
    try:
        with open_database(run.host) as (engine, settings):
            findings = _findings(engine, settings, run, folder, drain_seconds)
    except (ConfigurationError, *DATABASE_UNAVAILABLE) as error:
        reason = next(iter(str(error).splitlines()), "no reason was given")
        return judge(run, Findings({}, []), [f"the promises could not be checked: {reason}"])
    return judge(run, findings, [])


def _findings(
    engine: Engine, settings: Settings, run: RecordedRun, folder: Path, drain_seconds: float
) -> Findings:
    """Everything that was compared with the promises, after the queue had time to drain."""
    accepted = {seen.id for seen in _observations(folder) if seen.status == ACCEPTED}
    _wait_until_decided(engine, accepted, drain_seconds)
    broken: list[Broken] = []
    ticket_types, outcomes, payments = set(run.ticket_types), 0, 0
    for seen in chunks(_observations(folder), CHUNK_ROWS):
        rows = read_rows(engine, {answer.id for answer in seen})
        broken += broken_by_purchases(seen, rows)
        ticket_types |= {line.ticket_type for row in rows.values() for line in row.items}
        outcomes += sum(answer.status not in (ACCEPTED, REFUSED) for answer in seen)
        payments += sum(answer.payment_reference is not None for answer in seen)
    broken += broken_by_counters(read_counters(engine, ticket_types))
    report = audit(engine, settings)
    broken += [
        Broken(Promise.AUDIT, f"{invariant.name}: {example}")
        for invariant in report.invariants
        for example in invariant.examples
    ]
    checked = {
        Promise.NEVER_LOST: len(accepted),
        Promise.DECIDED: len(accepted),
        Promise.ONE_OUTCOME: outcomes,
        Promise.PAYMENTS: payments,
        Promise.NEVER_OVERSOLD: len(ticket_types),
        Promise.AUDIT: report.purchases,
    }
    return Findings(checked, broken)


def _observations(folder: Path) -> Iterator[Seen]:
    decoder = msgspec.json.Decoder(Seen)
    with (folder / OBSERVATIONS_FILE).open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)


def _wait_until_decided(engine: Engine, ids: set[str], within_seconds: float) -> None:
    """Give the queue time; the rows show what is still in it afterwards."""
    deadline = time.monotonic() + within_seconds
    waiting = still_queued(engine, ids)
    while waiting and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        waiting = still_queued(engine, waiting)


if __name__ == "__main__":
    main()
