"""Buying over HTTP from the real processes, from the first request to the audit."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg2
import pytest
import redis

from tests.system.conftest import Shop

PURCHASES = "/api/ticket-purchases/"
WAIT = {"Prefer": "wait=20"}
NOBODYS = "01a20375-b093-70f7-9ffe-a62a46181fc4"
OnSale = Callable[..., int]


def buy(
    client: httpx.Client, ticket_type: int, quantity: int = 1, **headers: str
) -> httpx.Response:
    return client.post(
        PURCHASES, json={"ticket_type": ticket_type, "quantity": quantity}, headers=headers
    )


def left(client: httpx.Client, ticket_type: int) -> int:
    capacity: int = client.get(f"/api/ticket-types/{ticket_type}/").json()["capacity"]
    return capacity


# --- buying ---


def test_a_purchase_lowers_the_capacity(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    bought = buy(buyer, ticket_type, 2, **WAIT)
    assert bought.status_code == 201
    assert bought.headers["Preference-Applied"] == "wait=20"
    assert bought.json() | {"status": "confirmed", "total_price": "50.00"} == bought.json()
    assert left(buyer, ticket_type) == 8


def test_a_purchase_is_accepted_then_told_at_its_own_address(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    accepted = buy(buyer, on_sale(10))
    assert accepted.status_code == 202
    assert accepted.headers["Location"] == f"{PURCHASES}{accepted.json()['id']}/"
    assert int(accepted.headers["Retry-After"]) >= 1
    assert accepted.json()["status"] == "queued"
    assert accepted.json()["position"] >= 0
    told = buyer.get(accepted.headers["Location"], params={"wait": 20})
    assert told.status_code == 200
    assert told.json()["status"] == "confirmed"


def test_a_purchase_beyond_the_capacity_is_refused(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(3)
    refused = buy(buyer, ticket_type, 4, **WAIT)
    assert refused.status_code == 400
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["detail"] == "Not enough tickets available"
    stored = buyer.get(f"{PURCHASES}{refused.json()['id']}/").json()
    assert (stored["status"], stored["reason"]) == ("rejected", "not_enough_tickets")
    assert left(buyer, ticket_type) == 3


def test_zero_capacity_is_refused_at_the_door(buyer: httpx.Client, on_sale: OnSale) -> None:
    refused = buy(buyer, on_sale(0))
    assert (refused.status_code, refused.json()["code"]) == (400, "not_enough_tickets")
    assert "id" not in refused.json()
    assert buyer.get(PURCHASES).json()["count"] == 0


def test_of_a_hundred_buyers_at_once_for_ten_tickets_ten_get_one(
    shop: Shop, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    buyers = shop.users(100)
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda client: buy(client, ticket_type, **WAIT), buyers))
    assert sorted(a.status_code for a in answers) == [201] * 10 + [400] * 90
    refusals = {a.json()["detail"] for a in answers if a.status_code == 400}
    assert refusals == {"Not enough tickets available"}
    assert left(buyers[0], ticket_type) == 0
    report = shop.audit()
    assert report["ok"], report


def test_nobody_gets_beyond_the_limit_of_a_user(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10, max_per_user=2)
    assert buy(buyer, ticket_type, 2, **WAIT).status_code == 201
    refused = buy(buyer, ticket_type, 1, **WAIT)
    assert (refused.status_code, refused.json()["code"]) == (400, "over_user_limit")


def test_a_sale_that_is_not_open_yet_says_when(buyer: httpx.Client, on_sale: OnSale) -> None:
    opens = datetime.now(UTC) + timedelta(minutes=5)
    refused = buy(buyer, on_sale(10, sales_start=opens.isoformat()))
    assert (refused.status_code, refused.json()["code"]) == (400, "sale_not_open")
    assert 290 <= int(refused.headers["Retry-After"]) <= 301


def test_a_sale_that_is_over_says_so(buyer: httpx.Client, on_sale: OnSale) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=5)
    refused = buy(buyer, on_sale(10, sales_end=ended.isoformat()))
    assert (refused.status_code, refused.json()["code"]) == (400, "sale_closed")


# --- retrying ---


def test_the_same_key_and_body_give_the_same_purchase(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type, key = on_sale(10), f'"{uuid4()}"'
    first = buy(buyer, ticket_type, 2, **WAIT, **{"Idempotency-Key": key})
    again = buy(buyer, ticket_type, 2, **{"Idempotency-Key": key})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert left(buyer, ticket_type) == 8


def test_the_same_key_with_another_body_is_a_mistake(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type, key = on_sale(10), str(uuid4())
    buy(buyer, ticket_type, 2, **{"Idempotency-Key": key})
    reused = buy(buyer, ticket_type, 3, **{"Idempotency-Key": key})
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


# --- whose it is ---


def test_without_a_token_nothing_is_sold(shop: Shop, on_sale: OnSale) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        refused = httpx.post(f"{shop.url}{PURCHASES}", json={}, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_purchases_are_seen_by_their_buyer_alone(shop: Shop, on_sale: OnSale) -> None:
    mine, other = shop.users(2)
    bought = buy(mine, on_sale(10), **WAIT).json()
    address = f"{PURCHASES}{bought['id']}/"
    assert mine.get(address).json() == bought
    assert other.get(address).status_code == 404
    assert other.get(address, params={"wait": 5}).status_code == 404
    assert [p["id"] for p in mine.get(PURCHASES).json()["results"]] == [bought["id"]]
    assert other.get(PURCHASES).json()["results"] == []


def test_lists_are_filtered_and_paged_newest_first(buyer: httpx.Client, on_sale: OnSale) -> None:
    few, many = on_sale(1), on_sale(10)
    ids = [buy(buyer, few, 1, **WAIT).json()["id"]]
    ids += [buy(buyer, many, 1, **WAIT).json()["id"] for _ in range(3)]
    rejected = buy(buyer, many, 9, **WAIT).json()["id"]

    def listed(**parameters: object) -> list[str]:
        answer = buyer.get(PURCHASES, params=parameters)  # type: ignore[arg-type]
        return [p["id"] for p in answer.json()["results"]]

    assert listed() == [rejected, *reversed(ids)]
    assert listed(status="rejected") == [rejected]
    assert listed(ticket_type=few) == ids[:1]
    assert listed(page=2, page_size=2) == [ids[2], ids[1]]
    page = buyer.get(PURCHASES, params={"page_size": 2}).json()
    assert page["count"] == 5
    assert buyer.get(page["next"]).json()["previous"].endswith("page_size=2")
    assert buyer.get(PURCHASES, params={"status": "lost"}).json()["errors"].keys() == {"status"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_purchase_cannot_be_changed(buyer: httpx.Client, on_sale: OnSale, method: str) -> None:
    bought = buy(buyer, on_sale(10), **WAIT).json()
    address = f"{PURCHASES}{bought['id']}/"
    refused = buyer.request(method, address, json={"quantity": 9})
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    assert buyer.get(address).json() == bought
    assert buyer.request(method, PURCHASES).headers["Allow"] == "GET, POST"


# --- asking ---


def test_a_decided_purchase_may_be_cached_for_ever(buyer: httpx.Client, on_sale: OnSale) -> None:
    bought = buy(buyer, on_sale(10), **WAIT).json()
    address = f"{PURCHASES}{bought['id'].upper()}/"
    told = buyer.get(address)
    assert told.json() == bought
    assert "immutable" in told.headers["Cache-Control"]
    assert told.headers["Vary"] == "Authorization, Accept"
    assert "Retry-After" not in told.headers
    unchanged = buyer.get(address, headers={"If-None-Match": told.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_redis_may_be_wiped_at_any_moment(shop: Shop, buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    bought = buy(buyer, ticket_type, **WAIT).json()
    with redis.Redis.from_url(shop.redis_url) as client:
        client.flushall()
    assert buyer.get(f"{PURCHASES}{bought['id']}/").json() == bought
    assert buy(buyer, ticket_type, **WAIT).status_code == 201


def test_while_the_sale_is_locked_a_purchase_waits_and_says_where_it_stands(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    locker = psycopg2.connect(shop.database_url)
    with locker.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM ticket_inventory WHERE ticket_type_id = %s FOR UPDATE", (ticket_type,)
        )
    first, second = (buy(buyer, ticket_type) for _ in range(2))
    assert [p.json()["position"] for p in (first, second)] == [0, 1]
    still = buyer.get(second.headers["Location"], params={"wait": 1})
    assert (still.json()["status"], still.json()["position"]) == ("queued", 1)
    assert int(still.headers["Retry-After"]) >= 1
    locker.rollback()
    locker.close()
    # The hint was used up while the row was locked: the sweeper is who decides.
    told = buyer.get(second.headers["Location"], params={"wait": 20})
    assert told.json()["status"] == "confirmed"


@pytest.mark.parametrize("wait", ["soon", "-1", "1.5", ""])
def test_a_wait_that_is_no_number_is_told_by_name(
    buyer: httpx.Client, on_sale: OnSale, wait: str
) -> None:
    bought = buy(buyer, on_sale(10), **WAIT).json()
    refused = buyer.get(f"{PURCHASES}{bought['id']}/?wait={wait}")
    assert (refused.status_code, refused.json()["errors"].keys()) == (400, {"wait"})


@pytest.mark.parametrize("id_", ["1", NOBODYS, "%00", "a/b"])
def test_an_id_that_is_nobodys_is_not_found(buyer: httpx.Client, id_: str) -> None:
    assert buyer.get(f"{PURCHASES}{id_}/").status_code == 404


# --- bad input ---


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", {"ticket_type", "quantity"}),
        ('{"ticket_type": 1}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": true}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": 1.5}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": "2"}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": null}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": 0}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": -1}', {"quantity"}),
        ('{"ticket_type": 1, "quantity": 2147483648}', {"quantity"}),
        ('{"ticket_type": 9223372036854775808, "quantity": 1}', {"ticket_type"}),
        ('{"ticket_type": 9223372036854775807, "quantity": 1}', {"ticket_type"}),
        ('{"ticket_type": 1e300, "quantity": 1}', {"ticket_type"}),
        ('{"ticket_type": 1e400, "quantity": 1}', None),
        ('{"ticket_type": 0, "quantity": [1]}', {"ticket_type", "quantity"}),
        ("[]", {"body"}),
        ("1", {"body"}),
        ("null", {"body"}),
        ("", None),
        ("{", None),
        ('{"ticket_type": 1, "quantity": 1', None),
        ("\xff", None),
        ("[" * 20_000, None),
    ],
)
def test_a_body_that_is_not_valid_is_told_by_field(
    buyer: httpx.Client, body: str, fields: set[str] | None
) -> None:
    refused = buyer.post(PURCHASES, content=body.encode("latin-1"))
    assert refused.status_code == 400
    assert set(refused.json().get("errors", {})) == (fields or set())
    assert refused.json()["code"] == ("invalid" if fields else "malformed_body")


def test_more_than_one_purchase_may_take_is_told_by_field(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    refused = buy(buyer, on_sale(100, max_per_purchase=4), 5)
    assert (refused.status_code, refused.json()["errors"].keys()) == (400, {"quantity"})


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\xe9"])
def test_a_key_that_is_none_is_told_by_name(buyer: httpx.Client, on_sale: OnSale, key: str) -> None:
    body = {"ticket_type": on_sale(1), "quantity": 1}
    refused = buyer.post(
        PURCHASES, json=body, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
    )
    assert (refused.status_code, refused.json()["errors"].keys()) == (400, {"Idempotency-Key"})


def test_a_body_that_is_too_large_is_not_read(buyer: httpx.Client) -> None:
    refused = buyer.post(PURCHASES, content=b" " * 100_000)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


def test_a_body_is_json_whatever_its_type_says(buyer: httpx.Client, on_sale: OnSale) -> None:
    body = f'{{"ticket_type": {on_sale(1)}, "quantity": 1}}'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert buyer.post(PURCHASES, content=body, headers=form).status_code == 202


# --- the edge ---


def test_a_request_keeps_the_name_it_came_with(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    bought = buy(buyer, on_sale(1), **WAIT, **{"X-Request-ID": "my-request-7"})
    assert bought.headers["X-Request-ID"] == "my-request-7"
    with psycopg2.connect(shop.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id FROM ticket_purchases WHERE id = %s", (bought.json()["id"],)
        )
        assert cursor.fetchone() == ("my-request-7",)
    connection.close()


def test_a_path_without_its_slash_leads_on_with_the_method_kept(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    body = {"ticket_type": on_sale(1), "quantity": 1}
    led_on = buyer.post(PURCHASES.rstrip("/"), json=body)
    assert (led_on.status_code, led_on.headers["Location"]) == (308, PURCHASES)
    followed = buyer.post(PURCHASES.rstrip("/"), json=body, follow_redirects=True)
    assert followed.status_code == 202


def test_the_document_names_every_route_and_its_pages_are_there(shop: Shop) -> None:
    document = httpx.get(f"{shop.url}/api/schema/").json()
    assert document["openapi"].startswith("3.1")
    assert {"get", "post"} <= document["paths"][PURCHASES].keys()
    assert {PURCHASES + "{id}/", "/api/events/", "/api/ticket-types/{id}/capacity/"} <= set(
        document["paths"]
    )
    pages = httpx.get(f"{shop.url}/api/docs/")
    assert (pages.status_code, "text/html" in pages.headers["Content-Type"]) == (200, True)


# --- the operator ---


def test_the_demo_sells_audits_and_draws(shop: Shop, tmp_path: Path) -> None:
    picture = tmp_path / "sale.png"
    shown = shop.operator.run(
        *("demo", "--buyers", "300", "--tickets", "60", "--seconds", "0.5"),
        *("--picture", str(picture)),
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "60 of 60 tickets" in shown.stdout
    assert "The audit passes" in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_audit_fails_on_tampered_rows(shop: Shop, buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    buy(buyer, ticket_type, 2, **WAIT)
    connection = psycopg2.connect(shop.database_url)
    tamper = "UPDATE ticket_inventory SET sold = sold + %s WHERE ticket_type_id = %s"
    with connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(tamper, (1, ticket_type))
    told = shop.operator.run("audit")
    assert told.returncode == 1
    assert f"ticket type {ticket_type}: sold is 3, yet the rows give 2" in told.stdout
    with connection, connection.cursor() as cursor:
        cursor.execute(tamper, (-1, ticket_type))
    connection.close()
    assert shop.operator.run("audit").returncode == 0
