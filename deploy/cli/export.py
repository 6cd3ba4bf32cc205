"""`eventify export`: an event's whole ledger."""

import errno
import os
import sys

import click

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.database.export import Format, export
from shared.database.ledger import LedgerBroken
from shared.errors import ConfigurationError, NotFound

INCOMPLETE = "The export is incomplete."


class EventId(click.IntRange):
    name = "event id"


@click.command("export")
@click.argument("event", type=EventId(min=1))
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
    output = sys.stdout.buffer
    try:
        with database(settings_of_running_system(find_home())) as engine:
            for part in export(engine, event, form):
                output.write(part)
        output.flush()
    except NotFound:
        raise ConfigurationError(f"There is no event {event}.") from None
    except LedgerBroken as error:
        raise ConfigurationError(f"{error}. `eventify audit` says more. {INCOMPLETE}") from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # click ends quietly
        # What is left in the buffer could not be written at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        raise ConfigurationError(f"{error.strerror}. {INCOMPLETE}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{str(error).removesuffix('.')}. {INCOMPLETE}") from error
