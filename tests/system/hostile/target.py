"""Rows to attack: an organiser's event on sale, API key and webhook, and a buyer's purchases."""

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
WEBHOOK = {"url": "https://mine-now.example/"}
PASSWORD = "velvet-tram-42"
BODILESS = ("/audits/", "/pause/", "/resume/", "/release/", "/cancel/", "/rotate-secret/", "/test/")
OWN_ACCOUNT = {
    "/api/users/me/": {"current_password": PASSWORD, "email": "mine@example.com"},
    "/api/users/me/password/": {"current_password": PASSWORD, "new_password": "amber-tram-43"},
    "/api/users/me/delete/": {"current_password": PASSWORD},
}


@dataclass(frozen=True)
class Target:
    """The purchases are of other events than `event`, which can be deleted.

    `purchase` is confirmed, the others are held. `webhook` is disabled, or the sender would change
    rows meanwhile.
    """

    organiser: httpx.Client
    buyer: httpx.Client
    event: int
    ticket_type: int
    sold_type: int
    purchase: str
    to_confirm: dict[str, Any]
    to_release: str
    key: int
    webhook: int

    @property
    def ticket_type_body(self) -> dict[str, Any]:
        return TICKET_TYPE | {"event": self.event}

    @property
    def purchase_body(self) -> dict[str, Any]:
        return {"ticket_type": self.sold_type, "quantity": 1}

    def body_for(self, path: str) -> dict[str, Any]:
        """A valid body for each write of this path."""
        bodies = {
            "/notice/": {"text": "Mine now"},
            "/capacity/": {"change": 1},
            "/confirm/": {
                "payment_reference": "mine",
                "amount": self.to_confirm["total_price"],
                "currency": self.to_confirm["currency"],
            },
            "/extend-holds/": {"seconds": 60},
            "/rewind/": {"event": self.event, "after": 0},
            "/api/keys/": {"name": "Mine now", "scopes": ["manage"]},
            "/api/webhooks/": WEBHOOK | {"event": self.event},
            "/api/webhooks/{id}/": WEBHOOK | {"enabled": False},
            **{end: {} for end in BODILESS},
            **OWN_ACCOUNT,
        }
        for end, body in bodies.items():
            if path.endswith(end):
                return body
        if path.startswith("/api/ticket-types/"):
            return self.ticket_type_body
        return self.purchase_body if path.startswith("/api/ticket-purchases/") else EVENT

    def address(self, path: str) -> str:
        """A documented path, with the id of one of the rows. Fails for resources not known here."""
        ids = {
            "/api/events/": self.event,
            "/api/sales/": self.event,
            "/api/ticket-types/": self.ticket_type,
            "/api/ticket-purchases/": self.purchase,
            "/api/keys/": self.key,
            "/api/webhooks/": self.webhook,
        }
        held = {"/confirm/": self.to_confirm["id"], "/release/": self.to_release}
        prefix, parameter, rest = path.partition("{id}")
        rest = rest.replace("{audit}", "1")
        return f"{prefix}{held.get(rest, ids[prefix])}{rest}" if parameter else path
