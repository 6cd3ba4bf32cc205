"""Changes a ticket type while its sale may be running."""

from typing import Any

from sqlalchemy.orm import Session

from catalog import event_store
from catalog import ticket_type_store as store
from catalog.etags import check_if_match, etag_of
from catalog.rules import check_owner, check_sale_window, issued_for_capacity
from catalog.schemas import TicketTypeView
from catalog.ticket_type_store import StoredTicketType
from shared.errors import Conflict, InvalidInput, NotFound


def lock_own(session: Session, user_id: int, ticket_type_id: int) -> StoredTicketType:
    """The ticket type, locked for its owner.

    Raises:
        NotFound: there is none.
        PermissionDenied: the user does not own its event.
    """
    stored = store.lock(session, ticket_type_id)
    check_owner(stored.owner_id, user_id)
    return stored


def change(
    session: Session,
    user_id: int,
    ticket_type_id: int,
    changes: dict[str, Any],
    if_match: str | None,
) -> StoredTicketType:
    """Apply changes under the lock of the counter, so that no sale slips in between.

    Args:
        session: its transaction ends soon: until then nothing is sold.
        user_id: who asks.
        ticket_type_id: what to change.
        changes: fields of a TicketTypeBody with their new values.
        if_match: the header, by which a client proves that it knows the latest state.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionRequired, PreconditionFailed, Conflict,
            or InvalidInput by field.
    """
    stored = lock_own(session, user_id, ticket_type_id)
    check_if_match(if_match, etag(stored), required=_puts_sale_at_risk(session, stored, changes))
    _move(session, stored, changes.pop("event", None), user_id)
    capacity = changes.pop("capacity", None)
    if capacity is not None:
        store.sign_changes(session, user_id)
        stored.inventory.issued = issued_for_capacity(stored.stock, capacity)
    for field, value in changes.items():
        setattr(stored.ticket_type, field, value)
    check_sale_window(stored.ticket_type.sales_start, stored.ticket_type.sales_end)
    return stored


def _puts_sale_at_risk(session: Session, stored: StoredTicketType, changes: dict[str, Any]) -> bool:
    """A capacity from a form that is older than the latest sale would sell tickets twice."""
    if "capacity" not in changes:
        return False
    return stored.inventory.sold > 0 or store.has_queued(session, stored.ticket_type.id)


def _move(session: Session, stored: StoredTicketType, event_id: int | None, user_id: int) -> None:
    """Put a ticket type under another event of the same owner, while nobody asked for it yet."""
    if event_id is None or event_id == stored.ticket_type.event_id:
        return
    check_event(session, event_id, user_id)
    store.hold_off_purchases(session, stored.ticket_type.id)
    if store.has_purchases(session, stored):
        raise Conflict("It has purchases, so it stays with its event.")
    stored.ticket_type.event_id = event_id


def check_event(session: Session, event_id: int, user_id: int) -> None:
    """Ticket types go only under an event of the user's own.

    Raises:
        InvalidInput: by field `event`: there is none.
        PermissionDenied: it is someone else's.
    """
    try:
        event = event_store.find(session, event_id)
    except NotFound:
        raise InvalidInput(errors={"event": ["There is no such event."]}) from None
    check_owner(event.owner_id, user_id)


def representation(stored: StoredTicketType) -> bytes:
    """The JSON that clients read, and by whose bytes they know a state again."""
    return TicketTypeView.of(stored.ticket_type, stored.inventory).model_dump_json().encode()


def etag(stored: StoredTicketType) -> str:
    return etag_of(representation(stored))
