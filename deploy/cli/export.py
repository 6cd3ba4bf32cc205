"""`eventify export`: an event's whole ledger."""

import sys

import click

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.database.export import Format, export
from shared.errors import ConfigurationError, NotFound


@click.command("export")
@click.argument("event", type=click.IntRange(min=1))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson"]),
    default="ndjson",
    show_default=True,
    help="A table, or all that a replay needs.",
)
def export_event(event: int, form: Format) -> None:
    """Write all entries of an event's sale to standard output.

    `eventify audit --from FILE` replays one in ndjson, on any machine.
    """
    with database(settings_of_running_system(find_home())) as engine:
        try:
            for part in export(engine, event, form):
                sys.stdout.buffer.write(part)
        except NotFound:
            raise ConfigurationError(f"There is no event {event}.") from None
