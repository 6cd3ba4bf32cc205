"""`eventify audit`: replays every decision from the rows."""

import sqlite3
import sys
import time
from typing import BinaryIO, NoReturn

import click
import msgspec
from rich.console import Console

from deploy.cli.output import say
from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from purchase_worker.audit import full_audits
from purchase_worker.audit.all_events import audit as audit_rows
from purchase_worker.audit.from_export import replay_export
from purchase_worker.audit.report_table import show_audit, show_replayed
from shared.errors import ConfigurationError

# 1 is a violation.
AUDIT_NOT_RUN = 2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--from",
    "export",
    type=click.File("rb"),
    help="Replay this export of `eventify export` in place of the database; - for standard input.",
)
@click.option("--record", is_flag=True, help="Store the result, for metrics and alerts.")
def audit(as_json: bool, export: BinaryIO | None, record: bool) -> None:
    """Replay every decision from the rows, or from an export of one event.

    Exit code 1 on any violation, 2 if the audit could not run.
    """
    if export is not None:
        if record:
            raise click.UsageError("--record is for an audit of the database, not of an export.")
        _audit_export(export, as_json)
    try:
        settings = settings_of_running_system(find_home())
        with database(settings) as engine:
            began = time.monotonic()
            report = audit_rows(engine, settings)
            if record:
                full_audits.record(engine, report, time.monotonic() - began)
    except (ConfigurationError, OSError) as error:  # of the disk, where it keeps what was bought
        say(f"Error: The audit could not run: {error}", err=True)
        sys.exit(AUDIT_NOT_RUN)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        show_audit(Console(highlight=False), report)
    sys.exit(0 if report.ok else 1)


def _audit_export(file: BinaryIO, as_json: bool) -> NoReturn:
    try:
        replayed = replay_export(file)
    # Of the file; or of the disk, where it keeps what was bought.
    except (ConfigurationError, OSError, sqlite3.Error) as error:
        say(f"Error: The audit could not run: {error}", err=True)
        sys.exit(AUDIT_NOT_RUN)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(replayed), indent=2))
    else:
        show_replayed(Console(highlight=False, soft_wrap=True), replayed)
    sys.exit(0 if replayed.ok else 1)
