"""Pauses and resumes sales for the operator, who is nobody's owner and needs no password."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from catalog.ticket_types.pause import pause, resume
from catalog.ticket_types.store import StoredTicketType
from shared.errors import ConfigurationError, NotFound, Problem

Say = Callable[[str], None]


def pause_sales(engine: Engine, ticket_type_ids: Sequence[int], say: Say) -> None:
    """Pause each, and say so.

    Raises:
        ConfigurationError: one is not there, or the database does not answer; the others were
            tried all the same.
    """
    _for_each(ticket_type_ids, lambda id_: say(_paused(pause(engine, id_))))


def resume_sales(engine: Engine, ticket_type_ids: Sequence[int], say: Say) -> None:
    """Resume each, and say so; raises what `pause_sales` raises."""
    _for_each(ticket_type_ids, lambda id_: say(f"{_named(resume(engine, id_))} is not paused."))


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
