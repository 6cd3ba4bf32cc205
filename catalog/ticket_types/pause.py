"""Pauses the sale of a ticket type, and resumes it.

While it is paused nothing is accepted; what is queued is decided all the same. Once `pause` has
returned, nothing more is accepted until the sale is resumed: what had passed its guard before the
pause was committed is over by then (docs/decisions/0015).
"""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from catalog.etags import check_if_match
from catalog.ticket_types import store
from catalog.ticket_types.change import etag, find_own
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import session_transaction
from shared.observability.logging import get_logger

logger = get_logger(__name__)


def pause(engine: Engine, ticket_type_id: int) -> StoredTicketType:
    """Accept nothing from now on; a pause that lasts already goes on as it is.

    It is the operator's, who owns nothing and may. An owner's request takes the same steps.

    Raises:
        Problem: NotFound; Unavailable: the pause may stand already, while some of what was under
            way still is.
    """
    with session_transaction(engine) as session:
        switch(session, ticket_type_id, paused=True)
    with session_transaction(engine) as session:
        return await_accepted(session, ticket_type_id)


def resume(engine: Engine, ticket_type_id: int) -> StoredTicketType:
    """Accept again, within the sale window; what sells already goes on selling.

    Raises:
        Problem: NotFound; Unavailable: the database is away.
    """
    with session_transaction(engine) as session:
        return switch(session, ticket_type_id, paused=False)


def check_switch(session: Session, user_id: int, ticket_type_id: int, if_match: str | None) -> None:
    """Refuse, without a lock, who does not own it or does not know its state.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionFailed.
    """
    check_if_match(if_match, etag(find_own(session, user_id, ticket_type_id)), guards_sales=False)


def switch(
    session: Session,
    ticket_type_id: int,
    *,
    paused: bool,
    user_id: int | None = None,
    if_match: str | None = None,
) -> StoredTicketType:
    """Pause or resume it; of a pause this is the first of two transactions.

    Args:
        session: it commits soon.
        ticket_type_id: what to switch.
        paused: which way.
        user_id: who asks, and owns it; None: the operator.
        if_match: the header, by which a client tells which state it knows.

    Raises:
        Problem: NotFound, PreconditionFailed.
    """
    # Not the counter's lock, as other changes: a pause must not wait for whoever decides.
    store.lock_terms(session, ticket_type_id)
    check_if_match(if_match, etag(store.find(session, ticket_type_id)), guards_sales=False)
    is_new = store.set_paused(session, ticket_type_id, paused=paused)
    if is_new and user_id is not None:  # the operator has no log, and is told on the terminal
        logger.info(
            "sale_paused" if paused else "sale_resumed", ticket_type=ticket_type_id, user=user_id
        )
    return store.find(session, ticket_type_id)


def await_accepted(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Wait until what was being accepted before the pause is stored.

    Only once the pause is committed: until then one accept statement after another would lock the
    row, and none of them would let us have it.

    Raises:
        Problem: NotFound; RowLocked: something still is.
    """
    store.lock_against_new_purchases(session, ticket_type_id)
    return store.find(session, ticket_type_id)
