"""`eventify status`: the processes on this machine."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from deploy.local.home import Home, find_home, is_locked, read_state
from deploy.local.leftovers import unsupervised_processes
from deploy.local.supervisor.client import SupervisorClient, SupervisorUnavailableError
from shared.config.url_passwords import without_passwords
from shared.errors import ConfigurationError

# 1: nothing is running. A script may run `eventify up` for both.
RUNS_UNSUPERVISED = 2
RUNS_IN_PART = 3
UNSUPERVISED = """\
The supervisor was killed, or its directory deleted. These processes are left of it, and are not
restarted. `eventify up` takes over: it stops them and starts everything again. `eventify down`
stops them.
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with passwords.")
def status(as_json: bool) -> None:
    """List the processes, their addresses and their restarts.

    Exit code 1 if nothing is running, 2 if its supervisor was killed, 3 if a process is not
    running.
    """
    home = find_home()
    try:
        report = _report(home)
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
        click.echo(_text(report))
        if down := _not_running(report):
            click.echo(f"\nNot running: {', '.join(down)}. See the logs in {home.logs}.")
    if report is None:
        sys.exit(1)
    if not report["supervised"]:
        sys.exit(RUNS_UNSUPERVISED)
    sys.exit(RUNS_IN_PART if _not_running(report) else 0)


def _not_running(report: dict[str, Any]) -> list[str]:
    """Processes that the supervisor is starting, or that exit at each start."""
    states = ("running", "unsupervised")
    return [each["name"] for each in report["processes"] if each["state"] not in states]


def _report(home: Home) -> dict[str, Any] | None:
    """The output of `eventify status --json`; None if nothing is running.

    `supervised` is false if the supervisor was killed and its processes are still running.

    Raises:
        SupervisorUnavailableError: it is starting or stopping.
    """
    state = read_state(home)
    if supervised := is_locked(home):
        if state is None:
            return None
        processes = SupervisorClient(state.supervisor_socket).processes()
    else:
        processes = unsupervised_processes(home)
        if not processes:
            return None
    return {
        "running": True,
        "supervised": supervised,
        **{
            name: getattr(state, name, None)
            for name in ("gateway_url", "catalog_url", "database_url", "redis_url")
        },
        "processes": [asdict(process) for process in processes],
    }


def _text(report: dict[str, Any]) -> str:
    """The report as text, without passwords."""
    lines = [
        f"gateway   {report['gateway_url'] or '-'}",
        f"catalog   {report['catalog_url'] or '-'}",
        f"database  {without_passwords(report['database_url'] or '-')}",
        f"redis     {without_passwords(report['redis_url'] or '-')}",
        "",
        f"{'process':<12} {'state':<12} {'pid':>8} {'restarts':>9}",
    ]
    lines += [
        f"{process['name']:<12} {process['state']:<12} {process['pid'] or '-':>8}"
        f" {'-' if process['restarts'] is None else process['restarts']:>9}"
        for process in report["processes"]
    ]
    return "\n".join(lines)
