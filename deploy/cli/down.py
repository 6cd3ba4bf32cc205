"""`eventify down`: stops what `up` started."""

import os
import time

import click

from deploy.local.home import (
    AlreadyRunningError,
    Home,
    find_home,
    is_locked,
    lock_home,
    running_state,
    was_started,
)
from deploy.local.leftovers import end_leftovers
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS
from deploy.local.supervisor.supervision import clear_away, service_seconds, stop_supervisor
from shared.errors import ConfigurationError

# A start writes its record after a second of preparation, or an initdb.
RECORD_SECONDS = 10


@click.command()
def down() -> None:
    """Stop what `up` started."""
    home = find_home()
    if _stop(home):
        click.echo("Eventify is stopped.")
    else:
        click.echo(f"Nothing is running in {home.path}.")


def _stop(home: Home) -> bool:
    """Stop everything of this home and wait for its end; returns whether anything was running.

    Raises:
        ConfigurationError: it does not stop, or is just starting.
    """
    was_running = is_locked(home)
    if was_running:
        deadline = time.monotonic() + RECORD_SECONDS
        while (state := running_state(home)) is None and is_locked(home):
            if time.monotonic() > deadline:
                raise ConfigurationError(f"Eventify is starting in {home.path}; try again.")
            time.sleep(0.1)
        if state is not None:
            stop_supervisor(home, state.supervisor_pid)
    if not was_started(home):
        # Of a home that was deleted under a running system; there is no record of it.
        return end_leftovers(home, service_seconds({}), POSTGRES_STOP_SECONDS) > 0
    try:
        lock = lock_home(home)
    except AlreadyRunningError as error:
        raise ConfigurationError(f"Eventify was started again in {home.path}.") from error
    try:
        return clear_away(home) > 0 or was_running
    finally:
        os.close(lock)
