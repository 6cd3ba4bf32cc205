"""`eventify up`: starts everything on this machine."""

import os
import shutil
import sys
import time
from pathlib import Path

import click

from deploy.cli.output import say
from deploy.cli.settings import warn_of_unknown_variables
from deploy.cli.stop_signals import stop_noted
from deploy.local.home import find_home, is_locked
from deploy.local.up import System, UpOptions, follow, start, stop
from shared.config.url_passwords import without_passwords
from shared.errors import ConfigurationError
from shared.process import restore_stop_signals


@click.command()
@click.option("--detach", is_flag=True, help="Return when everything is ready.")
@click.option("--host", envvar="EVENTIFY_GATEWAY_HOST", default="127.0.0.1", show_default=True)
@click.option("--port", envvar="EVENTIFY_GATEWAY_PORT", type=int, default=8000, show_default=True)
@click.option("--gateways", type=int, default=1, show_default=True, help="Gateway processes.")
@click.option("--workers", type=int, default=1, show_default=True, help="Celery workers.")
@click.option(
    "--restored",
    is_flag=True,
    help="The database is an older copy of itself: as `eventify migrate --restored`.",
)
def up(detach: bool, host: str, port: int, gateways: int, workers: int, restored: bool) -> None:
    """Start everything; Ctrl-C stops it."""
    restore_stop_signals()
    home, options = find_home(), UpOptions(host, port, gateways, workers, restored)
    warn_of_unknown_variables()
    if not is_locked(home):
        say(f"Starting Eventify, with its data in {home.path}:")
    with stop_noted() as stop_requested:
        began = time.monotonic()
        system = start(home, options, say, stop_requested)
        say(f"Ready in {time.monotonic() - began:.1f} s.\n\n{_what_to_try(system, detach)}")
        if detach:
            return
        follow(system, say, stop_requested)
        exit_code = system.process.poll()
        if exit_code is None:
            say("\nStopping ...")
        stop(system)
    if exit_code:
        raise ConfigurationError("The supervisor was killed; everything else was stopped.")
    say("Eventify is stopped.")


def _what_to_try(system: System, detached: bool) -> str:
    url, command = system.state.gateway_url, _command()
    stop = f"{command} down" if detached else "Ctrl-C"
    public = system.settings.public_url or url
    return f"""\
  storefront {public}/
  console    {public}/console/
  API docs   {public}/api/docs/
  gateway    {url}
  metrics    {url}/metrics
  database   {without_passwords(system.settings.database_url)}
  logs       {system.home.logs}

Try:
  {command} demo
  {command} status
  curl {url}/api/events/ -H "Authorization: Bearer $({command} token somebody)"

{stop} stops it."""


def _command() -> str:
    """The command as the operator typed it."""
    called_as = Path(sys.argv[0])
    if called_as.name != "eventify" or shutil.which("eventify"):
        return "eventify"
    return os.path.relpath(called_as)
