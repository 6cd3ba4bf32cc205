"""Pauses the sale of a ticket type, and resumes it.

During a pause nothing is accepted; what is queued is still decided. Once the second of its two
transactions has ended, nothing more is accepted until the sale is resumed: purchases that had
passed their guard before the pause was committed are stored by then (docs/decisions/0015).
"""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from catalog.ticket_types import store
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import RowLocked, session_transaction
from shared.errors import Unavailable
from shared.observability.logging import get_logger

STANDS = "The sale is paused; purchases from before are still being stored. Pause again to wait."
logger = get_logger(__name__)


def pause(engine: Engine, ticket_type_id: int) -> StoredTicketType:
    """Pause as the operator, who needs to own nothing; pausing again changes nothing.

    Raises:
        Problem: NotFound; Unavailable: the pause may be committed, while purchases from before it
            still are being stored.
    """
    with session_transaction(engine) as session:
        switch(session, store.lock_terms(session, ticket_type_id), paused=True)
    try:
        with session_transaction(engine) as session:
            return await_accepted(session, ticket_type_id)
    except RowLocked:
        with session_transaction(engine) as session:
            return check_resumed(session, ticket_type_id)


def resume(engine: Engine, ticket_type_id: int) -> StoredTicketType:
    """Accept again, within the sale window; resuming what is not paused changes nothing.

    Raises:
        Problem: NotFound; Unavailable: the database is unavailable.
    """
    with session_transaction(engine) as session:
        stored = store.lock_terms(session, ticket_type_id)
        switch(session, stored, paused=False)
        return stored


def switch(
    session: Session, stored: StoredTicketType, *, paused: bool, user_id: int | None = None
) -> None:
    """Under the lock of the terms, not of the counter: a pause must not wait for decisions.

    `user_id` is None for the operator, whose command prints the outcome.
    """
    ticket_type_id = stored.ticket_type.id
    is_new = store.set_paused(session, ticket_type_id, paused=paused)
    session.refresh(stored.ticket_type)
    if is_new and user_id is not None:
        logger.info(
            "sale_paused" if paused else "sale_resumed",
            ticket_type=ticket_type_id,
            user=user_id,
        )


def await_accepted(session: Session, ticket_type_id: int) -> StoredTicketType:
    """Wait until the purchases that passed their guard before the pause are stored.

    Only after the pause was committed: until then one accept statement after another would lock
    the row, and this would never get its lock.

    Raises:
        Problem: NotFound; RowLocked: some are not stored yet.
    """
    store.lock_against_new_purchases(session, ticket_type_id)
    return store.find(session, ticket_type_id)


def check_resumed(session: Session, ticket_type_id: int) -> StoredTicketType:
    """After the lock timed out: purchases of a sale that was resumed since may hold it forever.

    Raises:
        Problem: NotFound; Unavailable: the sale is paused.
    """
    stored = store.find(session, ticket_type_id)
    if stored.ticket_type.paused_at is not None:
        raise Unavailable(STANDS)
    return stored
