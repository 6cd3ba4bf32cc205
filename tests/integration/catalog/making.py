"""Makes what the tests of the catalog start from."""

from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import Connection, Engine, text

EVENT = {
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
}
TICKET_TYPE = {"name": "Standing", "price": "100.00", "capacity": 500}
QUEUE = """
INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency,
                      hold_seconds)
SELECT :request, event_id, :user_id, id, :quantity, 100, 'EUR', hold_seconds
FROM ticket_types WHERE id = :id
"""
LOCK = "SELECT FROM lanes WHERE event_id = (SELECT event_id FROM ticket_types WHERE id = :id)"
SELL = """
WITH lane AS (
    SELECT event_id, number + 1 AS number, greatest(at, now()) AS at FROM lanes
    WHERE event_id = (SELECT event_id FROM ticket_types WHERE id = :id)
), entry AS (
    INSERT INTO ledger (event_id, number, command_id, ticket_type_id, kind, change, left_after)
    SELECT event_id, number, :request, :id,
        (SELECT CASE WHEN hold_seconds IS NULL THEN 'confirmed' ELSE 'held' END::entry_kind
         FROM ticket_types WHERE id = :id),
        -:quantity,
        (SELECT issued - held - sold - :quantity FROM counters WHERE ticket_type_id = :id)
    FROM lane
)
INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
SELECT event_id, number, number, at, pg_current_snapshot(), 'test' FROM lane
"""


def user_id_of(client: httpx.Client) -> int:
    return int(client.headers["X-Test-User"])


def make_user(database: Engine, username: str) -> int:
    with database.begin() as connection:
        return connection.execute(
            text("INSERT INTO users (username) VALUES (:name) RETURNING id"), {"name": username}
        ).scalar_one()


def make_event(client: httpx.Client, **fields: object) -> dict[str, Any]:
    answer = client.post("/api/events/", json=EVENT | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def make_ticket_type(client: httpx.Client, **fields: object) -> dict[str, Any]:
    """A ticket type, of a new event unless `event` is given."""
    event = fields.pop("event", None) or make_event(client)["id"]
    answer = client.post("/api/ticket-types/", json=TICKET_TYPE | {"event": event} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def path_of(ticket_type: dict[str, Any]) -> str:
    return f"/api/ticket-types/{ticket_type['id']}/"


def etag_of(client: httpx.Client, path: str) -> str:
    return client.get(path).headers["ETag"]


def sell(database: Engine, ticket_type_id: int, user_id: int, quantity: int) -> None:
    """A purchase, decided as the worker decides it; held where its ticket type says so."""
    with database.begin() as connection:
        sell_within(connection, ticket_type_id, user_id, quantity)


def queue_within(
    connection: Connection, ticket_type_id: int, user_id: int, quantity: int = 1
) -> UUID:
    """A purchase that is accepted when the transaction ends."""
    request = uuid4()
    bought = {"request": request, "id": ticket_type_id, "user_id": user_id, "quantity": quantity}
    connection.execute(text(QUEUE), bought)
    return request


def sell_within(connection: Connection, ticket_type_id: int, user_id: int, quantity: int) -> None:
    """A sale that is made when the transaction ends; until then it locks the lane."""
    connection.execute(text(f"{LOCK} FOR NO KEY UPDATE"), {"id": ticket_type_id})
    request = queue_within(connection, ticket_type_id, user_id, quantity)
    sold = {"request": request, "id": ticket_type_id, "quantity": quantity}
    connection.execute(text(SELL), sold)
