"""One purchase over HTTP, and how long its decision takes."""

import time
import uuid

import httpx

from tests.chaos.round import MANY
from tests.chaos.system import System
from tests.support.factories import add_ticket_type


def seconds_to_decision(system: System) -> float:
    """From the request until a waiting client has the outcome."""
    ticket_type_id = add_ticket_type(system.engine, MANY)
    token = next(iter(system.tokens.values()))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    began = time.monotonic()
    with httpx.Client(base_url=system.operator.url, headers=headers, timeout=40) as client:
        body = {"ticket_type": ticket_type_id, "quantity": 1}
        accepted = client.post("/api/ticket-purchases/", json=body)
        assert accepted.status_code == 202, accepted.text
        decided = client.get(accepted.headers["Location"], params={"wait": 20})
    assert decided.json()["status"] == "confirmed", decided.text
    return time.monotonic() - began
