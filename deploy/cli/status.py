"""`eventify status`: what runs on this machine."""

import json
import sys

import click

from deploy.local.home import find_home
from deploy.local.status import status_report, status_text
from deploy.local.supervisor.client import SupervisorAwayError
from shared.errors import ConfigurationError

# 1 is nothing; both make a script that starts what is not supervised start it.
RUNS_UNSUPERVISED = 2
UNSUPERVISED = """\
The supervisor was killed, and these processes go on without it: what ends is not started again.
`eventify up` takes over: it ends them and starts everything anew. `eventify down` ends them.
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs; with passwords.")
def status(as_json: bool) -> None:
    """What runs, where, and how often it was restarted.

    Exit code 1 if nothing runs, 2 if what runs has lost its supervisor.
    """
    home = find_home()
    try:
        report = status_report(home)
    except SupervisorAwayError:
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
