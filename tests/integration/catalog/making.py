"""Makes what the tests of the catalog start from."""

from typing import Any

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
QUEUE = """
WITH accepted AS (
    INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency)
    SELECT gen_random_uuid(), event_id, :user_id, id, :quantity, 100, 'EUR'
    FROM ticket_types WHERE id = :id
    RETURNING id, event_id, seq
)
INSERT INTO work_list (event_id, class, seq, command_id) SELECT event_id, 1, seq, id FROM accepted
"""
LOCK = "SELECT FROM lanes WHERE event_id = (SELECT event_id FROM ticket_types WHERE id = :id)"
SELL = """
WITH lane AS (
    SELECT event_id, number + 1 AS number, greatest(at, now()) AS at FROM lanes
    WHERE event_id = (SELECT event_id FROM ticket_types WHERE id = :id)
), command AS (
    INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency)
    SELECT gen_random_uuid(), event_id, :user_id, :id, :quantity, 100, 'EUR' FROM lane
    RETURNING id
), entry AS (
    INSERT INTO ledger (event_id, number, command_id, ticket_type_id, kind, change, left_after)
    SELECT event_id, number, command.id, :id, 'confirmed', -:quantity,
        (SELECT issued - sold - :quantity FROM counters WHERE ticket_type_id = :id)
    FROM lane, command
), batch AS (
    INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
    SELECT event_id, number, number, at, pg_current_snapshot(), 'test' FROM lane
), moved AS (
    UPDATE lanes l SET number = lane.number, at = lane.at
    FROM lane WHERE l.event_id = lane.event_id
)
UPDATE counters SET sold = sold + :quantity WHERE ticket_type_id = :id
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
    bought = {"id": ticket_type_id, "user_id": user_id, "quantity": quantity}
    connection.execute(text(QUEUE), bought)


def sell_within(connection: Connection, ticket_type_id: int, user_id: int, quantity: int) -> None:
    """A sale that is made when the transaction ends; until then it locks the lane."""
    connection.execute(text(f"{LOCK} FOR NO KEY UPDATE"), {"id": ticket_type_id})
    bought = {"id": ticket_type_id, "user_id": user_id, "quantity": quantity}
    connection.execute(text(SELL), bought)


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
