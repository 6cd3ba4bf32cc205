"""Events and ticket types as the contract describes them. Pure.

Where the contract leaves an order open, it is: the body's own fields, then whether the thing is
there, then whose it is, then If-Match, then what the change would lead to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from tests.deep.model.refusals import Refusal

Fields = Mapping[str, Any]
# A state as the client read it, proven by its ETag; `ANY` is the header `*`.
Known = Fields | str
ANY = "*"

EVENT_DEFAULTS = {
    "description": "",
    "currency": "EUR",
    "max_per_user": None,
    "published": False,
    "show_left": False,
    "payment_url": None,
}
TICKET_TYPE_DEFAULTS = {
    "sales_start": None,
    "sales_end": None,
    "max_per_purchase": 10,
    "max_per_user": None,
    "hold_seconds": None,
}


@dataclass(eq=False)
class Event:
    owner: int
    fields: dict[str, Any]
    # From the answer: only the system knows the time.
    times: dict[str, str] = field(default_factory=dict)
    id: int = 0
    deleted: bool = False

    def view(self) -> Fields:
        return {"id": self.id, **self.fields, "owner": self.owner, "notice": "", **self.times}


@dataclass(eq=False)
class TicketType:
    event: Event
    fields: dict[str, Any]
    left: int
    sold: int = 0
    has_purchases: bool = False
    # These from the answer, too.
    paused_at: str | None = None
    times: dict[str, str] = field(default_factory=dict)
    id: int = 0
    deleted: bool = False

    def view(self) -> Fields:
        counts = {"capacity": self.left, "sold": self.sold, "issued": self.left + self.sold}
        state = {"event": self.event.id, "paused_at": self.paused_at, **self.times}
        return {"id": self.id, **self.fields, **state, **counts}


class Catalog:
    """Every call may raise Refusal, and then has changed nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ticket_types: list[TicketType] = []

    # --- events ---

    def create_event(self, user: int, body: Fields) -> Event:
        event = Event(user, _checked_event({**EVENT_DEFAULTS, **body}))
        self.events.append(event)
        return event

    def read_event(self, event: Event) -> Event:
        if event.deleted:
            raise Refusal("not_found")
        return event

    def replace_event(self, user: int, event: Event, body: Fields) -> Event:
        return self.change_event(user, event, {**EVENT_DEFAULTS, **body})

    def change_event(self, user: int, event: Event, changes: Fields) -> Event:
        _check_event(changes)
        self._check_may_write(user, event)
        event.fields = _checked_event({**event.fields, **changes})
        return event

    def delete_event(self, user: int, event: Event) -> None:
        self._check_may_write(user, event)
        ticket_types = self.ticket_types_of(event)
        if any(ticket_type.has_purchases for ticket_type in ticket_types):
            raise Refusal("conflict")
        for gone in (event, *ticket_types):
            gone.deleted = True

    def events_of(
        self, owner: int, *, search: str = "", starts_after: str = "", ordering: str = "id"
    ) -> list[Event]:
        found = [
            event
            for event in self.events
            if event.owner == owner and not event.deleted
            if event.fields["start_time"] > starts_after
            if all(_stands_in(word, event.fields) for word in search.lower().split())
        ]
        column = ordering.removeprefix("-")
        # Both sorts are stable: among equals the oldest comes first, in either direction.
        return sorted(found, key=lambda e: e.view()[column], reverse=column != ordering)

    # --- ticket types ---

    def create_ticket_type(self, user: int, event: Event, body: Fields) -> TicketType:
        body = {**TICKET_TYPE_DEFAULTS, **body}
        _check_ticket_type(body)
        _check_sale_window(body)
        self._check_may_hold(user, event)
        ticket_type = TicketType(event, _stored(body), left=body["capacity"])
        self.ticket_types.append(ticket_type)
        return ticket_type

    def read_ticket_type(self, ticket_type: TicketType) -> TicketType:
        if ticket_type.deleted:
            raise Refusal("not_found")
        return ticket_type

    def replace_ticket_type(
        self, user: int, ticket_type: TicketType, event: Event, body: Fields, known: Known | None
    ) -> TicketType:
        body = {**TICKET_TYPE_DEFAULTS, **body}
        return self.change_ticket_type(user, ticket_type, event, body, known)

    def change_ticket_type(
        self,
        user: int,
        ticket_type: TicketType,
        event: Event | None,
        changes: Fields,
        known: Known | None,
    ) -> TicketType:
        _check_ticket_type(changes)
        self._check_may_write(user, ticket_type)
        _check_known(ticket_type, known, sets_capacity="capacity" in changes)
        if event not in (None, ticket_type.event):
            self._check_may_hold(user, event)
            if ticket_type.has_purchases:
                raise Refusal("conflict")
        fields = {**ticket_type.fields, **_stored(changes)}
        _check_sale_window(fields)
        ticket_type.event = event or ticket_type.event
        ticket_type.left = changes.get("capacity", ticket_type.left)
        ticket_type.fields = fields
        return ticket_type

    def change_capacity(
        self, user: int, ticket_type: TicketType, change: int, known: Known | None
    ) -> TicketType:
        self._check_may_write(user, ticket_type)
        _check_known(ticket_type, known)
        if change == 0 or ticket_type.left + change < 0:
            raise Refusal("invalid", "change")
        ticket_type.left += change
        return ticket_type

    def pause(
        self, user: int, ticket_type: TicketType, known: Known | None, paused_at: str | None
    ) -> TicketType:
        """The first pause sets the time."""
        self._check_may_write(user, ticket_type)
        _check_known(ticket_type, known)
        ticket_type.paused_at = ticket_type.paused_at or paused_at
        return ticket_type

    def resume(self, user: int, ticket_type: TicketType, known: Known | None) -> TicketType:
        self._check_may_write(user, ticket_type)
        _check_known(ticket_type, known)
        ticket_type.paused_at = None
        return ticket_type

    def delete_ticket_type(self, user: int, ticket_type: TicketType, known: Known | None) -> None:
        self._check_may_write(user, ticket_type)
        _check_known(ticket_type, known)
        if ticket_type.has_purchases:
            raise Refusal("conflict")
        ticket_type.deleted = True

    def ticket_types_of(self, event: Event) -> list[TicketType]:
        return [one for one in self.ticket_types if one.event is event and not one.deleted]

    def _check_may_write(self, user: int, what: Event | TicketType) -> None:
        if what.deleted:
            raise Refusal("not_found")
        event = what.event if isinstance(what, TicketType) else what
        if event.owner != user:
            raise Refusal("permission_denied")

    def _check_may_hold(self, user: int, event: Event) -> None:
        """Ticket types go only under an event of one's own."""
        if event.deleted:
            raise Refusal("invalid", "event")
        if event.owner != user:
            raise Refusal("permission_denied")


def _check_event(fields: Fields) -> None:
    """Each field by itself; all invalid ones are named at once."""
    wrong = {
        "title": not 1 <= len(fields.get("title", "title").strip()) <= 200,
        "currency": fields.get("currency", "EUR") not in ("EUR", "CHF", "JPY"),
        "max_per_user": fields.get("max_per_user") == 0,
    }
    if any(wrong.values()):
        raise Refusal("invalid", *(name for name in wrong if wrong[name]))


def _checked_event(fields: Fields) -> dict[str, Any]:
    _check_event(fields)
    if fields["end_time"] <= fields["start_time"]:
        raise Refusal("invalid", "end_time")
    return {**fields, "title": fields["title"].strip()}


def _stands_in(word: str, fields: Fields) -> bool:
    return word in fields["title"].lower() or word in fields["description"].lower()


def _check_ticket_type(fields: Fields) -> None:
    """Each field by itself; all invalid ones are named at once."""
    wrong = {
        "name": not 1 <= len(fields.get("name", "name").strip()) <= 200,
        "price": "price" in fields and _price(fields["price"]) is None,
        "capacity": fields.get("capacity", 0) < 0,
        "max_per_purchase": fields.get("max_per_purchase", 1) < 1,
        "max_per_user": fields.get("max_per_user") == 0,
    }
    if any(wrong.values()):
        raise Refusal("invalid", *(name for name in wrong if wrong[name]))


def _price(sent: object) -> str | None:
    """As it is answered, with two decimals; None if it is no price."""
    if not isinstance(sent, str):
        return None
    try:
        price = Decimal(sent)
    except InvalidOperation:
        return None
    return f"{price:.2f}" if price >= 0 and price == round(price, 2) else None


def _stored(body: Fields) -> dict[str, Any]:
    """What was sent, as it is answered; the capacity is counted elsewhere."""
    fields = {name: value for name, value in body.items() if name != "capacity"}
    if "price" in fields:
        fields["price"] = _price(fields["price"])
    return fields


def _check_sale_window(fields: Fields) -> None:
    start, end = fields["sales_start"], fields["sales_end"]
    if start is not None and end is not None and end <= start:
        raise Refusal("invalid", "sales_end")


def _check_known(
    ticket_type: TicketType, known: Known | None, *, sets_capacity: bool = False
) -> None:
    """Sales since it was read matter to a change of the capacity, and to no other."""
    if known is None:
        if sets_capacity and ticket_type.sold > 0:
            raise Refusal("precondition_required")
        return
    if isinstance(known, str):
        return  # it is ANY
    same = (lambda view: view) if sets_capacity else _without_sales
    if same(known) != same(ticket_type.view()):
        raise Refusal("precondition_failed")


def _without_sales(view: Fields) -> Fields:
    """As the ETag's first part names it: with the tickets issued, and none of them sold."""
    return {**view, "capacity": view.get("capacity", 0) + view.get("sold", 0), "sold": 0}
