"""Changes a ticket type while its sale may be running.

While its counter is locked nothing is sold. So each change is checked twice: by a plain read first,
so that who may not, or asks for what cannot be, never gets a lock or a turn at one; and once more
under the lock, so that no sale slips in between. That the caller owns it needs no second look: an
event never changes hands, and a ticket type moves only between events of one owner.
"""

from typing import Any

from sqlalchemy.orm import Session

from catalog.etags import check_if_match, etag_of
from catalog.events import store as event_store
from catalog.rules import (
    Stock,
    check_owner,
    check_sale_window,
    issued_after_change,
    issued_for_capacity,
)
from catalog.schemas import TicketTypeView
from catalog.ticket_types import store
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import HAS_PURCHASES
from shared.errors import Conflict, InvalidInput, NotFound


def find_own(session: Session, user_id: int, ticket_type_id: int) -> StoredTicketType:
    """The ticket type as it stands, for its owner; nothing is locked.

    Raises:
        NotFound: there is none.
        PermissionDenied: the user does not own its event.
    """
    stored = store.find(session, ticket_type_id)
    check_owner(stored.owner_id, user_id)
    return stored


def check_change(
    session: Session,
    user_id: int,
    ticket_type_id: int,
    changes: dict[str, Any],
    if_match: str | None,
) -> None:
    """Refuse what `change` would refuse as things stand, without a lock; raises the same."""
    stored = find_own(session, user_id, ticket_type_id)
    _check_change(session, stored, changes, if_match)


def change(
    session: Session,
    user_id: int,
    ticket_type_id: int,
    changes: dict[str, Any],
    if_match: str | None,
) -> StoredTicketType:
    """Apply changes under the lock of the counter; `check_change` comes before it.

    Args:
        session: its transaction ends soon: until then nothing is sold.
        user_id: who asks, and owns it.
        ticket_type_id: what to change.
        changes: fields of a TicketTypeBody with their new values.
        if_match: the header, by which a client proves that it knows the latest state.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionRequired, PreconditionFailed, Conflict,
            or InvalidInput by field.
    """
    stored = store.lock(session, ticket_type_id)
    check_owner(stored.owner_id, user_id)
    if _moves(stored, changes):
        store.lock_against_new_purchases(session, ticket_type_id)
    _check_change(session, stored, changes, if_match)
    for field, value in changes.items():
        if field == "capacity":
            store.set_audit_user(session, user_id)
            stored.inventory.issued = issued_for_capacity(stored.stock, value)
        else:
            setattr(stored.ticket_type, "event_id" if field == "event" else field, value)
    return stored


def _check_change(
    session: Session, stored: StoredTicketType, changes: dict[str, Any], if_match: str | None
) -> None:
    sets_capacity = "capacity" in changes
    check_if_match(
        if_match,
        etag(stored),
        required=sets_capacity and _sale_began(session, stored),
        guards_sales=sets_capacity,
    )
    if _moves(stored, changes):
        check_event(session, changes["event"], stored.owner_id)
        if store.has_purchases(session, stored):
            raise Conflict("It has purchases, so it stays with its event.")
    if sets_capacity:
        issued_for_capacity(stored.stock, changes["capacity"])
    check_sale_window(
        changes.get("sales_start", stored.ticket_type.sales_start),
        changes.get("sales_end", stored.ticket_type.sales_end),
    )


def _sale_began(session: Session, stored: StoredTicketType) -> bool:
    """A capacity from a form that is older than the latest sale would sell tickets twice."""
    return stored.inventory.sold > 0 or store.has_queued(session, stored.ticket_type.id)


def _moves(stored: StoredTicketType, changes: dict[str, Any]) -> bool:
    return bool(changes.get("event", stored.ticket_type.event_id) != stored.ticket_type.event_id)


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


def check_capacity_change(
    session: Session, user_id: int, ticket_type_id: int, change: int, if_match: str | None
) -> None:
    """Refuse what `change_capacity` would refuse as things stand, without a lock."""
    stored = find_own(session, user_id, ticket_type_id)
    check_if_match(if_match, etag(stored), guards_sales=False)
    issued_after_change(stored.stock, change)


def change_capacity(
    session: Session, user_id: int, ticket_type_id: int, change: int, if_match: str | None
) -> StoredTicketType:
    """Issue more tickets, or withdraw some, under the lock of the counter.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionFailed, or InvalidInput by field.
    """
    stored = store.lock(session, ticket_type_id)
    check_owner(stored.owner_id, user_id)
    check_if_match(if_match, etag(stored), guards_sales=False)
    issued = issued_after_change(stored.stock, change)
    store.set_audit_user(session, user_id)
    stored.inventory.issued = issued
    return stored


def check_delete(session: Session, user_id: int, ticket_type_id: int, if_match: str | None) -> None:
    """Refuse what `delete` would refuse as things stand, without a lock."""
    _check_delete(session, find_own(session, user_id, ticket_type_id), if_match)


def delete(session: Session, user_id: int, ticket_type_id: int, if_match: str | None) -> None:
    """Delete it under the lock of its counter, while it has no purchases.

    Raises:
        Problem: NotFound, PermissionDenied, PreconditionFailed, Conflict.
    """
    stored = store.lock(session, ticket_type_id)
    check_owner(stored.owner_id, user_id)
    _check_delete(session, stored, if_match)
    session.delete(stored.ticket_type)


def _check_delete(session: Session, stored: StoredTicketType, if_match: str | None) -> None:
    check_if_match(if_match, etag(stored), guards_sales=False)
    if store.has_purchases(session, stored):
        raise Conflict(HAS_PURCHASES)


def representation(stored: StoredTicketType) -> bytes:
    """The JSON that clients read."""
    return TicketTypeView.of(stored.ticket_type, stored.inventory).model_dump_json().encode()


def etag(stored: StoredTicketType) -> str:
    """Two parts: what people change, with the tickets issued; and the tickets sold.

    `capacity` is the difference of the two figures, so the tag names each representation.
    """
    view = TicketTypeView.of(stored.ticket_type, stored.inventory)
    unsold = view.model_copy(update={"capacity": Stock(stored.stock.issued, 0).left, "sold": 0})
    return etag_of(unsold.model_dump_json().encode(), sold=stored.stock.sold)
