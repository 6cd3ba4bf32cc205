"""`eventify wait-for-schema`: services on many hosts wait for the one migration."""

import time

import click

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.config.settings import Settings
from shared.database.schema_version import missing_migrations
from shared.errors import ConfigurationError

PAUSE_SECONDS = 1.0


@click.command()
@click.option("--seconds", type=float, default=600, show_default=True, help="Time limit.")
def wait_for_schema(seconds: float) -> None:
    """Wait until the database has the schema of this version; change nothing."""
    settings = settings_of_running_system(find_home())
    deadline = time.monotonic() + seconds
    printed = ""
    while reason := _reason_to_wait(settings):
        if time.monotonic() > deadline:
            raise ConfigurationError(f"Waited for {seconds:g} s. {reason}")
        if reason != printed:
            click.echo(reason, err=True)
        printed = reason
        time.sleep(PAUSE_SECONDS)


def _reason_to_wait(settings: Settings) -> str:
    try:
        with database(settings) as engine:
            missing = missing_migrations(engine)
    except ConfigurationError as error:
        return str(error)
    return f"The database lacks the migrations {', '.join(missing)}." if missing else ""
