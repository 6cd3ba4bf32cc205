"""`eventify audit`: replays every decision from the rows."""

import sys

import click
import msgspec
from rich.console import Console

from deploy.cli.output import say
from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from purchase_worker.audit.report import audit as audit_rows
from purchase_worker.audit.table import show_audit
from shared.errors import ConfigurationError

# 1 is a violation.
AUDIT_NOT_RUN = 2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(as_json: bool) -> None:
    """Replay every decision from the rows.

    Exit code 1 on any violation, 2 if the audit could not run.
    """
    try:
        settings = settings_of_running_system(find_home())
        with database(settings) as engine:
            report = audit_rows(engine, settings)
    except (ConfigurationError, OSError) as error:  # of the disk, where it keeps what was bought
        say(f"Error: The audit could not run: {error}", err=True)
        sys.exit(AUDIT_NOT_RUN)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        show_audit(Console(highlight=False), report)
    sys.exit(0 if report.ok else 1)
