"""Purchases as the contract describes them, of one client after another. Pure.

Times are the contract's words, which sort as the moments do; `NOW` stands between those that the
machine uses for past and future.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tests.deep.model.catalog import Event, TicketType
from tests.deep.model.refusals import Refusal

NOW = "2026-11-22T12:00:00Z"
Short = list[dict[str, int]]


class Line(NamedTuple):
    ticket_type: TicketType
    quantity: int


@dataclass(eq=False)
class Purchase:
    """A stored purchase."""

    user: int
    event: Event
    lines: Sequence[Line]
    key: str | None
    unit_prices: Sequence[str]
    currency: str
    reason: str | None
    short: Short | None
    # The whole body, with what the system alone can know, once it was read.
    read: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        return self.view()["id"]

    @property
    def status(self) -> str:
        return "confirmed" if self.reason is None else "rejected"

    def quantity_of(self, ticket_type: TicketType) -> int:
        return sum(line.quantity for line in self.lines if line.ticket_type is ticket_type)

    def terms(self) -> dict[str, Any]:
        """What can be foreseen of the body."""
        items = [
            {
                "ticket_type": line.ticket_type.id,
                "quantity": line.quantity,
                "unit_price": price,
                "total_price": f"{Decimal(price) * line.quantity:.2f}",
            }
            for line, price in zip(self.lines, self.unit_prices, strict=True)
        ]
        of_one_line = ("ticket_type", "quantity", "unit_price")
        return {
            **{name: items[0][name] if len(items) == 1 else None for name in of_one_line},
            "event": self.event.id,
            "items": items,
            "total_price": f"{sum(Decimal(str(item['total_price'])) for item in items):.2f}",
            "currency": self.currency,
            "status": self.status,
            "reason": self.reason,
            "short": self.short,
        }

    def view(self) -> Mapping[str, Any]:
        """It never changes any more."""
        assert self.read is not None
        return self.read


class Purchases:
    """Every call may raise Refusal, and then has stored nothing."""

    def __init__(self) -> None:
        self._stored: list[Purchase] = []

    def buy(self, user: int, lines: Sequence[Line], key: str | None, *, as_items: bool) -> Purchase:
        """The purchase, decided; an earlier one if the key was used before."""
        _check_form(lines, as_items=as_items)
        earlier = self._with_key(user, key)
        if earlier is not None:
            if earlier.lines != lines:
                raise Refusal("idempotency_key_reused")
            return earlier
        _check_fields(lines, as_items=as_items)
        _check_on_sale([line.ticket_type for line in lines])
        _check_left([line for line in lines if line.ticket_type.left == 0])
        purchase = self._decided(user, lines, key)
        self._stored.append(purchase)
        return purchase

    def read(self, user: int, purchase: Purchase) -> Purchase:
        if purchase.user != user:
            raise Refusal("not_found")
        return purchase

    def of(
        self, user: int, *, status: str | None = None, ticket_type: TicketType | None = None
    ) -> list[Purchase]:
        """A user's own, newest first."""
        return [
            purchase
            for purchase in reversed(self._stored)
            if purchase.user == user
            if status in (None, purchase.status)
            if ticket_type is None or purchase.quantity_of(ticket_type) > 0
        ]

    def _with_key(self, user: int, key: str | None) -> Purchase | None:
        if key is None:
            return None
        return next((one for one in self.of(user) if one.key == key), None)

    def _decided(self, user: int, lines: Sequence[Line], key: str | None) -> Purchase:
        event = lines[0].ticket_type.event
        short = _short([line for line in lines if line.quantity > line.ticket_type.left])
        if short:
            reason = "not_enough_tickets"
        else:
            reason = "over_user_limit" if self._is_over_limit(user, event, lines) else None
        for line in lines:
            line.ticket_type.has_purchases = True
            if reason is None:
                line.ticket_type.left -= line.quantity
                line.ticket_type.sold += line.quantity
        prices = [line.ticket_type.fields["price"] for line in lines]
        currency = event.fields["currency"]
        return Purchase(user, event, lines, key, prices, currency, reason, short or None)

    def _is_over_limit(self, user: int, event: Event, lines: Sequence[Line]) -> bool:
        mine = [p for p in self.of(user, status="confirmed") if p.event is event]
        sums = [
            (
                line.ticket_type.fields["max_per_user"],
                line.quantity + sum(p.quantity_of(line.ticket_type) for p in mine),
            )
            for line in lines
        ]
        in_all = [line for lines in (lines, *(p.lines for p in mine)) for line in lines]
        sums.append((event.fields["max_per_user"], sum(line.quantity for line in in_all)))
        return any(limit is not None and total > limit for limit, total in sums)


def _short(lines: Sequence[Line]) -> Short:
    return [
        {
            "ticket_type": line.ticket_type.id,
            "quantity": line.quantity,
            "left": line.ticket_type.left,
        }
        for line in lines
    ]


def _field(nth: int, name: str, *, as_items: bool) -> str:
    return f"items.{nth}.{name}" if as_items else name


def _check_form(lines: Sequence[Line], *, as_items: bool) -> None:
    """Errors that the request shows by itself."""
    types = [line.ticket_type for line in lines]
    wrong = {"quantity": [nth for nth, line in enumerate(lines) if line.quantity < 1]}
    wrong["ticket_type"] = [nth for nth, one in enumerate(types) if one in types[:nth]]
    _refuse_fields(wrong, as_items=as_items)


def _check_fields(lines: Sequence[Line], *, as_items: bool) -> None:
    """Errors that another request would not have, with nothing stored."""
    event = next((t.event for t, _ in lines if not t.deleted), None)
    wrong: dict[str, list[int]] = {"ticket_type": [], "quantity": []}
    for nth, (ticket_type, quantity) in enumerate(lines):
        if ticket_type.deleted or ticket_type.event is not event:
            wrong["ticket_type"].append(nth)
        if not ticket_type.deleted and quantity > ticket_type.fields["max_per_purchase"]:
            wrong["quantity"].append(nth)
    _refuse_fields(wrong, as_items=as_items)


def _refuse_fields(wrong: Mapping[str, Sequence[int]], *, as_items: bool) -> None:
    fields = [_field(nth, name, as_items=as_items) for name in wrong for nth in wrong[name]]
    if fields:
        raise Refusal("invalid", *fields)


def _check_on_sale(ticket_types: Sequence[TicketType]) -> None:
    """What the sale of any of them says, with nothing stored."""
    if any((one.fields["sales_end"] or "9") <= NOW for one in ticket_types):
        raise Refusal("sale_closed")
    if any((one.fields["sales_start"] or NOW) > NOW for one in ticket_types):
        raise Refusal("sale_not_open")
    if any(one.paused_at is not None for one in ticket_types):
        raise Refusal("sale_paused")


def _check_left(sold_out: Sequence[Line]) -> None:
    if sold_out:
        raise Refusal("not_enough_tickets", short=_short(sold_out))
