"""Pauses the sale of a ticket type, and resumes it.

While it is paused nothing is accepted; what is queued is decided all the same. Once `pause` has
returned, nothing more is accepted until the sale is resumed: what had passed its guard before the
pause was committed is over by then (docs/decisions/0015).
"""

from sqlalchemy import Engine

from catalog import ticket_type_store as store
from catalog.change_ticket_type import etag
from catalog.etags import check_if_match
from catalog.rules import check_owner
from catalog.ticket_type_store import StoredTicketType
from catalog.transactions import transaction
from shared.logging import get_logger

logger = get_logger(__name__)


def pause(
    engine: Engine, ticket_type_id: int, user_id: int | None = None, if_match: str | None = None
) -> StoredTicketType:
    """Accept nothing from now on; a pause that lasts already goes on as it is.

    Args:
        engine: connections to PostgreSQL.
        ticket_type_id: what to pause.
        user_id: who asks, and has to own it; None: the operator, who may.
        if_match: the header, by which a client tells which state it knows.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionFailed; Unavailable: the pause may stand
            already, while some of what was under way still is.
    """
    _set(engine, ticket_type_id, user_id, if_match, paused=True)
    # Only now: while the pause was not committed, one accept statement after another would lock
    # the row, and none of them would let us have it.
    with transaction(engine) as session:
        store.hold_off_purchases(session, ticket_type_id)
        return store.find(session, ticket_type_id)


def resume(
    engine: Engine, ticket_type_id: int, user_id: int | None = None, if_match: str | None = None
) -> StoredTicketType:
    """Accept again, within the sale window; what sells already goes on selling.

    Takes what `pause` takes, and raises what it raises.
    """
    return _set(engine, ticket_type_id, user_id, if_match, paused=False)


def _set(
    engine: Engine, ticket_type_id: int, user_id: int | None, if_match: str | None, *, paused: bool
) -> StoredTicketType:
    with transaction(engine) as session:
        # Not the counter's lock, as other changes: a pause must not wait for whoever decides.
        stored = store.find(session, ticket_type_id)
        if user_id is not None:
            check_owner(stored.owner_id, user_id)
        check_if_match(if_match, etag(stored), required=False)
        is_new = store.set_paused(session, ticket_type_id, paused=paused)
        stored = store.find(session, ticket_type_id)
    if is_new and user_id is not None:  # the operator has no log, and is told on the terminal
        logger.info(
            "sale_paused" if paused else "sale_resumed", ticket_type=ticket_type_id, user=user_id
        )
    return stored
