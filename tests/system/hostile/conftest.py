"""Rows to attack, an attacker, and a digest that shows whether anything was changed."""

from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import psycopg2
import pytest

from tests.support.wire import Wire
from tests.system.conftest import Shop
from tests.system.hostile.attacker import Attacker
from tests.system.hostile.target import Target


@pytest.fixture
def target(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client, on_sale: Callable[..., int]
) -> Target:
    ticket_type, sold_type = on_sale(10), on_sale(10)
    event = organiser.get(f"/api/ticket-types/{ticket_type}/").json()["event"]
    bought = buyer.post(
        "/api/ticket-purchases/",
        json={"ticket_type": sold_type, "quantity": 2},
        headers={"Prefer": "wait=20"},
    )
    assert bought.status_code == 201
    return Target(organiser, buyer, event, ticket_type, sold_type, bought.json()["id"])


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    with closing(Wire(shop.url)) as wire:
        yield wire


@pytest.fixture
def stored(shop: Shop) -> Callable[[], dict[str, str]]:
    """A digest of every table, by name: two are equal when nothing was changed between them."""

    def digests() -> dict[str, str]:
        with (
            closing(psycopg2.connect(shop.database_url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            found = {}
            for (table,) in cursor.fetchall():
                cursor.execute(
                    f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} AS t"
                )
                (found[table],) = cursor.fetchone() or ("",)
        return found

    return digests


@pytest.fixture
def attacker(shop: Shop, target: Target) -> Iterator[Attacker]:
    attacker = Attacker(shop, target)
    with closing(attacker.wire):
        yield attacker


@pytest.fixture(scope="module", autouse=True)
def nothing_has_died(shop: Shop) -> Iterator[None]:
    before = shop.operator.processes()
    yield
    assert shop.operator.processes() == before
    assert httpx.get(f"{shop.url}/readyz").status_code == 200
