"""Selling and buying over HTTP, as organisers and buyers do it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg2

EVENTS = "/api/events/"
TICKET_TYPES = "/api/ticket-types/"
PURCHASES = "/api/ticket-purchases/"
WAIT = {"Prefer": "wait=20"}
OnSale = Callable[..., int]


def event_fields(**fields: Any) -> dict[str, Any]:
    """The body of a concert in a month's time."""
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    ends = starts + timedelta(hours=3)
    times = {"start_time": starts.isoformat(), "end_time": ends.isoformat()}
    return {"title": "Concert"} | times | fields


def ticket_type_fields(event: int, **fields: Any) -> dict[str, Any]:
    return {"event": event, "name": "Standing", "price": "25.00", "capacity": 10} | fields


def create(organiser: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    created = organiser.post(path, json=body)
    assert created.status_code == 201, created.text
    row: dict[str, Any] = created.json()
    return row


def put_on_sale(organiser: httpx.Client, capacity: int, **fields: Any) -> int:
    """The id of a new ticket type, of an event of its own."""
    event = create(organiser, EVENTS, event_fields())
    wanted = ticket_type_fields(event["id"], capacity=capacity, **fields)
    id_: int = create(organiser, TICKET_TYPES, wanted)["id"]
    return id_


def put_types_on_sale(organiser: httpx.Client, *types: dict[str, Any], **event: Any) -> list[int]:
    """The ids of new ticket types of one event, 10 tickets of each unless it says otherwise."""
    event_id = create(organiser, EVENTS, event_fields(**event))["id"]
    bodies = [ticket_type_fields(event_id, **fields) for fields in types]
    return [create(organiser, TICKET_TYPES, body)["id"] for body in bodies]


def new_key() -> dict[str, str]:
    """The header of an Idempotency-Key that nobody has used."""
    return {"Idempotency-Key": f'"{uuid4()}"'}


def buy_cart(
    client: httpx.Client, *lines: tuple[int, int], headers: dict[str, str] | None = None
) -> httpx.Response:
    """Args: ticket type and quantity of each line."""
    items = [{"ticket_type": ticket_type, "quantity": quantity} for ticket_type, quantity in lines]
    return client.post(PURCHASES, json={"items": items}, headers=headers)


def buy(
    client: httpx.Client, ticket_type: int, quantity: int = 1, **headers: str
) -> httpx.Response:
    return client.post(
        PURCHASES, json={"ticket_type": ticket_type, "quantity": quantity}, headers=headers
    )


def left(client: httpx.Client, ticket_type: int) -> int:
    capacity: int = client.get(f"{TICKET_TYPES}{ticket_type}/").json()["capacity"]
    return capacity


@contextmanager
def sale_held(database_url: str, ticket_type: int) -> Iterator[None]:
    """Nobody can decide what is queued of this ticket type's event until the block ends."""
    with closing(psycopg2.connect(database_url)) as holder, holder.cursor() as cursor:
        cursor.execute(
            "SELECT FROM lanes WHERE event_id = (SELECT event_id FROM ticket_types WHERE id = %s)"
            " FOR UPDATE",
            (ticket_type,),
        )
        yield
