"""Whole sales over HTTP from the real processes: a rush, an accident, the demo and the audit.

What each request is answered with is in `contract/`.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg2
import pytest
import redis

from tests.system.conftest import Shop
from tests.system.contract.routes import UNKNOWN_PURCHASE
from tests.system.selling import PURCHASES, WAIT, OnSale, buy, left


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


def test_redis_may_be_wiped_at_any_moment(shop: Shop, buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    bought = buy(buyer, ticket_type, **WAIT).json()
    with redis.Redis.from_url(shop.redis_url) as client:
        client.flushall()
    assert buyer.get(f"{PURCHASES}{bought['id']}/").json() == bought
    assert buy(buyer, ticket_type, **WAIT).status_code == 201


@pytest.mark.parametrize("id_", ["1", UNKNOWN_PURCHASE, "%00", "a/b"])
def test_an_id_that_is_unknown_is_not_found(buyer: httpx.Client, id_: str) -> None:
    assert buyer.get(f"{PURCHASES}{id_}/").status_code == 404
    # What could be an id is refused by the method; what is none has no methods.
    status = 405 if id_ == UNKNOWN_PURCHASE else 404
    assert buyer.delete(f"{PURCHASES}{id_}/").status_code == status


def test_the_demo_sells_audits_and_draws(shop: Shop, tmp_path: Path) -> None:
    chart = tmp_path / "sale.png"
    shown = shop.operator.run(
        *("demo", "--buyers", "300", "--tickets", "200", "--seconds", "0.5"),
        *("--chart", str(chart)),
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    # Enough that some of them are sold to carts, a tenth of the buyers.
    assert "200 of 200 tickets" in shown.stdout
    assert "The audit passes" in shown.stdout
    assert chart.read_bytes().startswith(b"\x89PNG")
    with shop.database() as rows:
        rows.execute(
            "SELECT count(items) FROM requests r JOIN events e ON e.id = r.event_id"
            " WHERE e.title LIKE 'The demo%'"
        )
        (carts,) = rows.fetchone()
    assert carts > 0


def test_the_audit_fails_on_tampered_rows(shop: Shop, buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    buy(buyer, ticket_type, 2, **WAIT)
    connection = psycopg2.connect(shop.database_url)
    tamper = "UPDATE counters SET sold = sold + %s WHERE ticket_type_id = %s"
    with connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(tamper, (1, ticket_type))
    reported = shop.operator.call("audit")
    assert reported.returncode == 1
    told = " ".join(reported.stdout.split())
    assert f"ticket type {ticket_type}: 10 issued, 0 held and 3 sold are counted" in told
    with connection, connection.cursor() as cursor:
        cursor.execute(tamper, (-1, ticket_type))
    connection.close()
    assert shop.operator.call("audit").returncode == 0
