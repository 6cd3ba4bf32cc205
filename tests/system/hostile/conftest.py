"""Rows to attack, an attacker, and a digest that shows whether anything was changed."""

from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import psycopg2
import pytest

from tests.support.wire import Wire
from tests.system.conftest import Shop
from tests.system.hostile.attacker import Attacker
from tests.system.hostile.target import WEBHOOK, Target
from tests.system.selling import TICKET_TYPES, WAIT, OnSale, buy, create


@pytest.fixture
def organiser(shop: Shop) -> httpx.Client:
    """One for each test: what is stored for an account, such as its keys, is limited."""
    return shop.user()


@pytest.fixture
def target(organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale) -> Target:
    ticket_type, sold_type = on_sale(10), on_sale(10)
    event = organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
    held_type = on_sale(10, hold_seconds=7_200)
    bought, to_confirm, to_release = (
        buy(buyer, wanted, 2, **WAIT) for wanted in (sold_type, held_type, held_type)
    )
    assert bought.status_code == 201
    assert to_confirm.json()["status"] == to_release.json()["status"] == "held"
    key = create(organiser, "/api/keys/", {"name": "Checkout", "scopes": ["read"]})
    webhook = create(organiser, "/api/webhooks/", WEBHOOK)
    disabled = organiser.patch(f"/api/webhooks/{webhook['id']}/", json={"enabled": False})
    assert disabled.status_code == 200
    return Target(
        organiser,
        buyer,
        event,
        ticket_type,
        sold_type,
        bought.json()["id"],
        to_confirm.json(),
        to_release.json()["id"],
        key["id"],
        webhook["id"],
    )


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    with closing(Wire(shop.url)) as wire:
        yield wire


@pytest.fixture
def stored(shop: Shop) -> Callable[[], dict[str, str]]:
    """A digest of every table, by name: two are equal when nothing was changed between them.

    Refusals are counted on purpose, some seconds later.
    """

    def digests() -> dict[str, str]:
        with (
            closing(psycopg2.connect(shop.database_url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                # The sender writes the last two whenever it tries again.
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN"
                " ('edge_refusals', 'webhook_cursors', 'webhook_deliveries')"
            )
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
