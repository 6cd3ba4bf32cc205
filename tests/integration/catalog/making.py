"""Makes what the tests of the catalog start from."""

from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import Connection, Engine, text

from tests.support.waiting import eventually

EVENT = {
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
}
TICKET_TYPE = {"name": "Standing", "price": "100.00", "capacity": 500}
DECIDE = """
UPDATE ticket_purchases
SET status = 'confirmed', decided_at = now(), decision_number = :number, left_after = :left
WHERE ticket_type_id = :id AND status = 'queued'
"""
RECORD = """
INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by)
VALUES (:id, :number, :number, pg_current_snapshot(), 'test')
"""
COUNT = """
UPDATE ticket_inventory SET sold = sold + :quantity, decisions = :number WHERE ticket_type_id = :id
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
    """A purchase, decided as the worker decides it."""
    with database.begin() as connection:
        sell_within(connection, ticket_type_id, user_id, quantity)


def queue_within(
    connection: Connection, ticket_type_id: int, user_id: int, quantity: int = 1
) -> None:
    """A purchase that is accepted when the transaction ends."""
    connection.execute(
        text(
            "INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price)"
            " VALUES (:id, :user_id, :ticket_type_id, :quantity, 100)"
        ),
        {
            "id": uuid4(),
            "user_id": user_id,
            "ticket_type_id": ticket_type_id,
            "quantity": quantity,
        },
    )


def sell_within(connection: Connection, ticket_type_id: int, user_id: int, quantity: int) -> None:
    """A sale that is made when the transaction ends; until then it locks the counter."""
    number, left = connection.execute(
        text(
            "SELECT decisions + 1, issued - sold - :quantity FROM ticket_inventory"
            " WHERE ticket_type_id = :id FOR NO KEY UPDATE"
        ),
        {"id": ticket_type_id, "quantity": quantity},
    ).one()
    queue_within(connection, ticket_type_id, user_id, quantity)
    decided = {"id": ticket_type_id, "number": number, "left": left, "quantity": quantity}
    for statement in (DECIDE, RECORD, COUNT):
        connection.execute(text(statement), decided)


def until_the_catalog_waits(database: Engine) -> None:
    """Until a statement of the catalog waits for a lock."""
    waits = text(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'eventify-catalog' AND wait_event_type = 'Lock'"
    )

    def waiting() -> None:
        with database.connect() as connection:
            assert connection.execute(waits).first() is not None

    eventually(waiting)
