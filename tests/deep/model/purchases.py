"""Purchases as the contract describes them, of one client after another. Pure.

Times are the contract's words, which sort as the moments do; `NOW` stands between those that the
machine uses for past and future.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.deep.model.catalog import TicketType
from tests.deep.model.refusals import Refusal

NOW = "2026-11-22T12:00:00Z"


@dataclass(eq=False)
class Purchase:
    """A stored purchase."""

    user: int
    ticket_type: TicketType
    quantity: int
    unit_price: str
    reason: str | None
    key: str | None
    # The whole body, with what the system alone can know, once it was read.
    read: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        return self.view()["id"]

    @property
    def status(self) -> str:
        return "confirmed" if self.reason is None else "rejected"

    def terms(self) -> dict[str, Any]:
        """What can be foreseen of the body."""
        return {
            "ticket_type": self.ticket_type.id,
            "event": self.ticket_type.event.id,
            "quantity": self.quantity,
            "unit_price": self.unit_price,
            "total_price": f"{Decimal(self.unit_price) * self.quantity:.2f}",
            "status": self.status,
            "reason": self.reason,
        }

    def view(self) -> Mapping[str, Any]:
        """It never changes any more."""
        assert self.read is not None
        return self.read


class Purchases:
    """Every call may raise Refusal, and then has stored nothing."""

    def __init__(self) -> None:
        self._stored: list[Purchase] = []

    def buy(self, user: int, ticket_type: TicketType, quantity: int, key: str | None) -> Purchase:
        """The purchase, decided; an earlier one if the key was used before."""
        if quantity < 1:
            raise Refusal("invalid", "quantity")
        earlier = self._with_key(user, key)
        if earlier is not None:
            if (earlier.ticket_type, earlier.quantity) != (ticket_type, quantity):
                raise Refusal("idempotency_key_reused")
            return earlier
        _check_on_sale(ticket_type, quantity)
        reason = self._why_rejected(user, ticket_type, quantity)
        ticket_type.has_purchases = True
        if reason is None:
            ticket_type.left -= quantity
            ticket_type.sold += quantity
        price = ticket_type.fields["price"]
        purchase = Purchase(user, ticket_type, quantity, price, reason, key)
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
            if ticket_type in (None, purchase.ticket_type)
        ]

    def _with_key(self, user: int, key: str | None) -> Purchase | None:
        if key is None:
            return None
        return next((one for one in self.of(user) if one.key == key), None)

    def _why_rejected(self, user: int, ticket_type: TicketType, quantity: int) -> str | None:
        if quantity > ticket_type.left:
            return "not_enough_tickets"
        limit = ticket_type.fields["max_per_user"]
        held = sum(p.quantity for p in self.of(user, status="confirmed", ticket_type=ticket_type))
        return "over_user_limit" if limit is not None and held + quantity > limit else None


def _check_on_sale(ticket_type: TicketType, quantity: int) -> None:
    """Errors of the gateway, with nothing stored."""
    if ticket_type.deleted:
        raise Refusal("invalid", "ticket_type")
    if quantity > ticket_type.fields["max_per_purchase"]:
        raise Refusal("invalid", "quantity")
    if (ticket_type.fields["sales_start"] or NOW) > NOW:
        raise Refusal("sale_not_open")
    if (ticket_type.fields["sales_end"] or "9") <= NOW:
        raise Refusal("sale_closed")
    if ticket_type.paused_at is not None:
        raise Refusal("sale_paused")
    if ticket_type.left == 0:
        raise Refusal("not_enough_tickets")
