"""Lists by cursor: each row once, while rows come and go."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.system.conftest import Shop
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    WAIT,
    OnSale,
    buy,
    create,
    event_fields,
    ticket_type_fields,
)

Make = Callable[[int], Any]
ORDERS = [
    sign + column for column in ("id", "start_time", "end_time", "title") for sign in ("", "-")
]


def deleting(client: httpx.Client, path: str) -> Callable[[Any], None]:
    def delete(row: Any) -> None:
        assert client.delete(f"{path}{row['id']}/").status_code == 204

    return delete


def check_stable(
    client: httpx.Client,
    path: str,
    make: Make,
    delete: Callable[[Any], None] | None = None,
    **query: object,
) -> None:
    """Each row that was there and stays comes once and in its order, whatever else happens."""
    for n in range(8):
        make(n)
    there = client.get(path, params=query | {"page_size": 100}).json()["results"]
    assert len(there) == 8
    page = client.get(path, params=query | {"page_size": 3, "cursor": ""}).json()
    assert page["results"] == there[:3]
    stay = there
    if delete is not None:
        for gone in (there[0], there[2], there[3]):  # one that was read, the cursor's own, the next
            delete(gone)
        stay = [row for row in there if row != there[3]]
    seen = page["results"]
    n = 8
    while page["next"] is not None:
        make(n)
        make(n % 8)
        n += 1
        page = client.get(page["next"]).json()
        assert page.keys() == {"next", "results"}
        seen += page["results"]
        assert n < 20, "it never ends"
    ids = [row.get("at", row["id"]) for row in seen]
    assert len(set(ids)) == len(ids)
    assert [row for row in seen if row in stay] == stay


@pytest.mark.parametrize("ordering", ORDERS)
def test_events(shop: Shop, ordering: str) -> None:
    user = shop.user()

    def make(n: int) -> None:
        # Two of each title and time, not in the order of their ids.
        k = n * 5 % 8 // 2
        start, end = (f"20{30 + k}-06-05T{hour}:00:00Z" for hour in (18, 23))
        title = "äA"[k % 2] * (k + 1)
        create(user, EVENTS, event_fields(title=title, start_time=start, end_time=end))

    check_stable(user, EVENTS, make, deleting(user, EVENTS), owner="me", ordering=ordering)


def test_ticket_types(shop: Shop) -> None:
    user = shop.user()
    event = create(user, EVENTS, event_fields())["id"]

    def make(_n: int) -> None:
        create(user, TICKET_TYPES, ticket_type_fields(event))

    check_stable(user, TICKET_TYPES, make, deleting(user, TICKET_TYPES), event=event)


def test_own_purchases(shop: Shop, on_sale: OnSale) -> None:
    user, ticket_type = shop.user(), on_sale(100)
    check_stable(user, PURCHASES, lambda _n: buy(user, ticket_type, **WAIT))


def test_keys_and_webhooks(shop: Shop) -> None:
    user = shop.user()

    def make_key(n: int) -> None:
        create(user, "/api/keys/", {"name": f"Key {n}", "scopes": ["read"]})

    def make_webhook(n: int) -> None:
        create(user, "/api/webhooks/", {"url": f"https://shop.example/{n}"})

    for path, make in (("/api/keys/", make_key), ("/api/webhooks/", make_webhook)):
        check_stable(user, path, make, deleting(user, path))


def test_audits_and_deliveries(shop: Shop) -> None:
    user = shop.user()
    event = create(user, EVENTS, event_fields())["id"]
    with shop.database() as statements:
        statements.execute(
            "INSERT INTO webhooks (user_id, url, kinds) SELECT owner_id, 'https://shop.example/',"
            " '{confirmed}' FROM events WHERE id = %s RETURNING id",
            (event,),
        )
        (webhook,) = statements.fetchone()

    def run(sql: str, *values: object) -> None:
        with shop.database() as statements:
            statements.execute(sql, values)

    def make_audit(_n: int) -> None:
        run(
            "INSERT INTO audits (event_id, status, finished_at) VALUES (%s, 'passed', now())", event
        )

    def make_delivery(n: int) -> None:
        run(
            "INSERT INTO webhook_deliveries (webhook_id, delivery_id, status, milliseconds)"
            " VALUES (%s, gen_random_uuid(), 200, %s)",
            *(webhook, n),
        )

    check_stable(
        *(user, f"{EVENTS}{event}/audits/", make_audit),
        lambda audit: run("DELETE FROM audits WHERE id = %s", audit["id"]),
    )
    check_stable(
        *(user, f"/api/webhooks/{webhook}/deliveries/", make_delivery),
        lambda one: run("DELETE FROM webhook_deliveries WHERE at = %s", one["at"]),
    )
