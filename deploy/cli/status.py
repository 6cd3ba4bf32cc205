"""`eventify status`: the processes on this machine."""

import json
import sys

import click

from deploy.local.home import find_home
from deploy.local.status import status_report, status_text
from deploy.local.supervisor.client import SupervisorUnavailableError
from shared.errors import ConfigurationError

# 1: nothing is running. A script may run `eventify up` for both.
RUNS_UNSUPERVISED = 2
UNSUPERVISED = """\
The supervisor was killed. These processes are running without it, and are not restarted.
`eventify up` takes over: it stops them and starts everything again. `eventify down` stops them.
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with passwords.")
def status(as_json: bool) -> None:
    """List the processes, their addresses and their restarts.

    Exit code 1 if nothing is running, 2 if its supervisor was killed.
    """
    home = find_home()
    try:
        report = status_report(home)
    except SupervisorUnavailableError:
        if not as_json:
            raise
        report = None
    if as_json:
        click.echo(json.dumps(report or {"running": False}, indent=2))
    elif report is None:
        raise ConfigurationError(f"Nothing is running in {home.path}.")
    else:
        if not report["supervised"]:
            click.echo(UNSUPERVISED)
        click.echo(status_text(report))
    if report is None:
        sys.exit(1)
    sys.exit(0 if report["supervised"] else RUNS_UNSUPERVISED)
