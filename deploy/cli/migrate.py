"""`eventify migrate`: the schema, and the rights of each service."""

from functools import partial

import click
from sqlalchemy import Engine, text

from deploy.cli.output import say
from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from deploy.migration import migrate_all


@click.command()
@click.option("--restored", is_flag=True, help="The database is an older copy of itself.")
def migrate(restored: bool) -> None:
    """Bring the database's schema and the services' rights to the newest version.

    Also run it after restoring a backup, before Eventify is started: without it, the order of later
    sales cannot be proved, and readers of the feed do not learn of it. A dump and a base backup are
    recognised; say --restored of a snapshot of a disk.
    """
    settings = settings_of_running_system(find_home())
    with database(settings, migrating=True) as engine:
        former = _epoch(engine)
        passed_over = migrate_all(engine, settings, partial(say, err=True), restored=restored)
        with engine.connect() as connection:
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        epoch = _epoch(engine)
    if passed_over:
        click.echo(f"Skipped {passed_over:,} transaction ids that the restored rows hold already.")
    if former not in (None, epoch):
        click.echo(
            f"New epoch: {epoch} (before: {former}). Readers of the feed get 409 epoch_changed and"
            " begin again; webhooks are notified."
        )
    click.echo(f"The schema is at version {version}.")


def _epoch(engine: Engine) -> str | None:
    """Of the ledgers; None in a database without them."""
    with engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass('ledger_epoch')")) is None:
            return None
        epoch: str | None = connection.scalar(text("SELECT epoch FROM ledger_epoch"))
        return epoch
