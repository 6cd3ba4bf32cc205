"""`eventify migrate`: the schema, and the rights of each service."""

from collections.abc import Callable
from functools import partial

import click
from sqlalchemy import Engine, text

from deploy.cli import connections
from deploy.cli.output import say
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.config.settings import Settings
from shared.database import migrate as schema
from shared.database.logins import ROLE_OF_SETTING, login_urls, make_logins
from shared.database.rights import missing_roles
from shared.database.session_settings import keep_in_role


@click.command()
def migrate() -> None:
    """Bring the database's schema and the services' rights to the newest version.

    Also run it after restoring a dump, before Eventify is started: without it, the order of later
    sales cannot be proved.
    """
    settings = settings_of_running_system(find_home())
    with connections.database(settings) as engine:
        passed_over = migrate_all(engine, settings, partial(say, err=True))
        with engine.connect() as connection:
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if passed_over:
        click.echo(f"Skipped {passed_over:,} transaction ids that the restored rows hold already.")
    click.echo(f"The schema is at version {version}.")


def migrate_all(engine: Engine, settings: Settings, say: Callable[[str], None]) -> int:
    """Migrate the schema, the services' rights and their logins.

    Returns:
        How many transaction ids were skipped (`shared.database.migrate.migrate`).

    Raises:
        ConfigurationError: with what to do first.
    """
    _prepare_for_pooler(settings, settings.database_url)
    passed_over = schema.migrate(engine)
    make_logins(engine, settings)
    for url in login_urls(settings).values():
        _prepare_for_pooler(settings, url)
    own_logins = len(login_urls(settings)) == len(ROLE_OF_SETTING)
    if not own_logins and (what_to_do := missing_roles(engine)):
        say(f"Warning: {what_to_do}")
    return passed_over


def _prepare_for_pooler(settings: Settings, url: str) -> None:
    """Store session settings in the login: a pooler's sessions are not ours to configure."""
    if not settings.prepare_statements:
        keep_in_role(settings.model_copy(update={"database_url": url}))
