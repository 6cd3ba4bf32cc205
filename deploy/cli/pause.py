"""`eventify pause` and `resume`: for the operator, who owns no event and needs no password."""

from collections.abc import Callable, Sequence

import click
from sqlalchemy import Engine

from catalog.ticket_types.pause import pause as pause_sale
from catalog.ticket_types.pause import resume as resume_sale
from catalog.ticket_types.store import StoredTicketType
from deploy.cli import connections
from deploy.cli.output import say
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.errors import ConfigurationError, NotFound, Problem
from shared.row_ids import MAX_ID


@click.command()
@click.argument("ticket_types", nargs=-1, required=True, type=click.IntRange(1, MAX_ID))
def pause(ticket_types: tuple[int, ...]) -> None:
    """Accept nothing more of these TICKET_TYPES, given by their ids, until they are resumed.

    What is queued is decided all the same.
    """
    with connections.database(settings_of_running_system(find_home())) as engine:
        _pause_sales(engine, ticket_types)


@click.command()
@click.argument("ticket_types", nargs=-1, required=True, type=click.IntRange(1, MAX_ID))
def resume(ticket_types: tuple[int, ...]) -> None:
    """Accept purchases of these TICKET_TYPES again."""
    with connections.database(settings_of_running_system(find_home())) as engine:
        _resume_sales(engine, ticket_types)


def _pause_sales(engine: Engine, ticket_type_ids: Sequence[int]) -> None:
    """Pause each, and say so.

    Raises:
        ConfigurationError: one is not there, or the database does not answer; the others were
            tried all the same.
    """
    _for_each(ticket_type_ids, lambda id_: say(_paused(pause_sale(engine, id_))))


def _resume_sales(engine: Engine, ticket_type_ids: Sequence[int]) -> None:
    """Resume each, and say so; raises as `_pause_sales` does."""
    _for_each(
        ticket_type_ids, lambda id_: say(f"{_named(resume_sale(engine, id_))} is not paused.")
    )


def _for_each(ticket_type_ids: Sequence[int], switch: Callable[[int], None]) -> None:
    failures = []
    for id_ in dict.fromkeys(ticket_type_ids):
        try:
            switch(id_)
        except NotFound:
            failures.append(f"There is no ticket type {id_}.")
        except Problem as problem:
            failures.append(f"Ticket type {id_}: {problem.detail}")
    if failures:
        raise ConfigurationError(" ".join(failures))


def _paused(stored: StoredTicketType) -> str:
    since = stored.ticket_type.paused_at
    assert since is not None, "it was paused a moment ago"
    return f"{_named(stored)} is paused since {since:%Y-%m-%d %H:%M:%S} UTC."


def _named(stored: StoredTicketType) -> str:
    return f"Ticket type {stored.ticket_type.id} ({stored.ticket_type.name})"
