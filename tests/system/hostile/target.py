"""Rows to attack: an organiser's event on sale, and a buyer's purchase."""

from dataclasses import dataclass
from typing import Any

import httpx

EVENT = {
    "title": "Mine now",
    "description": "",
    "start_time": "2036-06-05T18:00:00Z",
    "end_time": "2036-06-05T23:00:00Z",
}
TICKET_TYPE = {"name": "Mine now", "price": "0.00", "capacity": 5}


@dataclass(frozen=True)
class Target:
    """The purchase is of another event than `event`, which can be deleted."""

    organiser: httpx.Client
    buyer: httpx.Client
    event: int
    ticket_type: int
    sold_type: int
    purchase: str

    @property
    def ticket_type_body(self) -> dict[str, Any]:
        return TICKET_TYPE | {"event": self.event}

    @property
    def purchase_body(self) -> dict[str, Any]:
        return {"ticket_type": self.sold_type, "quantity": 1}

    def body_for(self, path: str) -> dict[str, Any]:
        """A valid body for each write of this path."""
        if path.endswith("/capacity/"):
            return {"change": 1}
        if path.endswith(("/pause/", "/resume/", "/release/", "/cancel/")):
            return {}
        if path.endswith("/confirm/"):
            return {"payment_reference": "mine", "amount": "0.00", "currency": "EUR"}
        if path.endswith("/extend-holds/"):
            return {"seconds": 60}
        if path.startswith("/api/ticket-types/"):
            return self.ticket_type_body
        return self.purchase_body if path.startswith("/api/ticket-purchases/") else EVENT

    def address(self, path: str) -> str:
        """A documented path, with the id of one of the rows. Fails for resources not known here."""
        ids = {
            "/api/events/": self.event,
            "/api/ticket-types/": self.ticket_type,
            "/api/ticket-purchases/": self.purchase,
        }
        prefix, parameter, rest = path.partition("{id}")
        return f"{prefix}{ids[prefix]}{rest}" if parameter else path
