"""`eventify pause` and `resume`: for operators, without an event's owner."""

from collections.abc import Callable, Sequence

import click
from sqlalchemy import Engine

from catalog.ticket_types.pause import pause as pause_sale
from catalog.ticket_types.pause import resume as resume_sale
from catalog.ticket_types.store import StoredTicketType
from deploy.cli.output import say
from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.errors import ConfigurationError, NotFound, Problem
from shared.row_ids import MAX_ID

TICKET_TYPES = click.argument(
    "ticket_types", nargs=-1, required=True, type=click.IntRange(1, MAX_ID)
)


@click.command()
@TICKET_TYPES
def pause(ticket_types: tuple[int, ...]) -> None:
    """Accept no more purchases of TICKET_TYPES, given by their ids, until they are resumed.

    Queued purchases are still decided.
    """
    _for_each(ticket_types, lambda engine, id_: _paused(pause_sale(engine, id_)))


@click.command()
@TICKET_TYPES
def resume(ticket_types: tuple[int, ...]) -> None:
    """Accept purchases of TICKET_TYPES again."""
    _for_each(
        ticket_types, lambda engine, id_: f"{_named(resume_sale(engine, id_))} is no longer paused."
    )


def _for_each(ticket_type_ids: Sequence[int], switch: Callable[[Engine, int], str]) -> None:
    """Switch each and print the result.

    Raises:
        ConfigurationError: one does not exist, or the database failed; all others were switched.
    """
    failures = []
    with database(settings_of_running_system(find_home())) as engine:
        for id_ in dict.fromkeys(ticket_type_ids):
            try:
                say(switch(engine, id_))
            except NotFound:
                failures.append(f"There is no ticket type {id_}.")
            except Problem as problem:
                failures.append(f"Ticket type {id_}: {problem.detail}")
    if failures:
        raise ConfigurationError(" ".join(failures))


def _paused(stored: StoredTicketType) -> str:
    since = stored.ticket_type.paused_at
    if since is None:
        return f"{_named(stored)} was resumed meanwhile."
    return f"{_named(stored)} is paused since {since:%Y-%m-%d %H:%M:%S} UTC."


def _named(stored: StoredTicketType) -> str:
    return f"Ticket type {stored.ticket_type.id} ({stored.ticket_type.name})"
