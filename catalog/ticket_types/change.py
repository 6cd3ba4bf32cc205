"""Checks and changes of a ticket type, whose sale may be running.

`WriteRequest.change` calls each check twice: after a plain read, and under the lock of the counter,
during which nothing is sold.
"""

from typing import Any

from sqlalchemy.orm import Session

from catalog.etags import check_if_match
from catalog.events import store as event_store
from catalog.rules import check_order, check_owner
from catalog.ticket_types import store
from catalog.ticket_types.rules import SALE_WINDOW, issued_after_change, issued_for_capacity
from catalog.ticket_types.schemas import etag
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import HAS_PURCHASES, ledgers_of
from shared.database.tables import TicketType
from shared.errors import Conflict, InvalidInput, NotFound

Fields = dict[str, Any]  # of a TicketTypeBody, with their new values


def check_event(session: Session, event_id: int, user_id: int) -> None:
    """Raises InvalidInput: there is no such event; PermissionDenied: the user does not own it."""
    try:
        event = event_store.find(session, event_id)
    except NotFound:
        raise InvalidInput(errors={"event": ["There is no such event."]}) from None
    check_owner(event.owner_id, user_id)


def create(session: Session, user_id: int, fields: Fields) -> StoredTicketType:
    """Raises what `check_event` raises."""
    check_event(session, fields["event"], user_id)
    others = {name: fields[name] for name in fields.keys() - {"event", "capacity"}}
    ticket_type = TicketType(event_id=fields["event"], **others)
    session.add(ticket_type)
    ledgers_of(session).add(ticket_type.event_id)
    session.flush()
    store.set_audit_user(session, user_id)
    store.issue(session, ticket_type.id, fields["capacity"])
    return store.find(session, ticket_type.id)


def lock_for_change(session: Session, ticket_type_id: int, changes: Fields) -> StoredTicketType:
    """Raises NotFound."""
    stored = store.lock(session, ticket_type_id, changes.get("event"))
    if _moves(stored, changes):
        store.lock_against_new_purchases(session, ticket_type_id)
    return stored


def check_change(
    session: Session, stored: StoredTicketType, changes: Fields, if_match: str | None
) -> None:
    """Raises PreconditionRequired, PreconditionFailed, Conflict, PermissionDenied (of another
    event), or InvalidInput by field."""
    sets_capacity = "capacity" in changes
    check_if_match(
        if_match,
        etag(stored),
        required=sets_capacity and _sale_began(session, stored),
        guards_sales=sets_capacity,
    )
    if _moves(stored, changes):
        check_event(session, changes["event"], stored.owner_id)
        if store.has_purchases(session, stored.ticket_type):
            raise Conflict("It has purchases, so it stays with its event.")
    if sets_capacity:
        issued_for_capacity(stored.stock, changes["capacity"])
    window = (changes.get(name, getattr(stored.ticket_type, name)) for name in SALE_WINDOW)
    check_order(SALE_WINDOW, *window)


def change(
    session: Session, stored: StoredTicketType, changes: Fields, user_id: int
) -> StoredTicketType:
    store.set_audit_user(session, user_id)
    ticket_type, stock = stored.ticket_type, stored.stock
    for field in changes.keys() - {"capacity"}:
        setattr(ticket_type, "event_id" if field == "event" else field, changes[field])
    session.flush()
    if "capacity" in changes:
        issued = issued_for_capacity(stock, changes["capacity"])
        store.issue(session, ticket_type.id, issued - stock.issued)
    return store.find(session, ticket_type.id)


def _sale_began(session: Session, stored: StoredTicketType) -> bool:
    """A capacity from a form that is older than the latest sale would sell tickets twice."""
    stock = stored.stock
    return stock.held + stock.sold > 0 or store.has_queued(session, stored.ticket_type)


def _moves(stored: StoredTicketType, changes: Fields) -> bool:
    return bool(changes.get("event", stored.ticket_type.event_id) != stored.ticket_type.event_id)


def check_state(stored: StoredTicketType, if_match: str | None) -> None:
    """Raises PreconditionFailed: it was changed since it was read. Sales are no such change."""
    check_if_match(if_match, etag(stored), guards_sales=False)


def change_capacity(
    session: Session, stored: StoredTicketType, by: int, user_id: int
) -> StoredTicketType:
    issued_after_change(stored.stock, by)
    store.set_audit_user(session, user_id)
    store.issue(session, stored.ticket_type.id, by)
    return store.find(session, stored.ticket_type.id)


def delete(session: Session, stored: StoredTicketType, user_id: int) -> None:
    """What is left of it is withdrawn first, by a trigger."""
    store.set_audit_user(session, user_id)
    session.delete(stored.ticket_type)


def check_deletable(session: Session, stored: StoredTicketType) -> None:
    """Raises Conflict."""
    if store.has_purchases(session, stored.ticket_type):
        raise Conflict(HAS_PURCHASES)
