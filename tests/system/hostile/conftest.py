"""What strangers would like to get at: an organiser's event on sale, and a buyer's purchase."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg2
import pytest

from tests.system.conftest import Shop
from tests.wire import Wire

# One body for all routes: each takes its fields, and ignores the rest.
TITLE = {
    "title": "Mine now",
    "description": "",
    "start_time": "2036-06-05T18:00:00Z",
    "end_time": "2036-06-05T23:00:00Z",
}
TERMS = {"name": "Mine now", "price": "0.00", "capacity": 5, "change": 1, "quantity": 1}


@dataclass(frozen=True)
class Target:
    """Rows worth attacking. The purchase is of another event than the one that may be deleted."""

    organiser: httpx.Client
    buyer: httpx.Client
    event: int
    ticket_type: int
    sold_type: int
    purchase: str

    @property
    def body(self) -> dict[str, Any]:
        """With it each write would be done, if it were allowed."""
        return TITLE | TERMS | {"event": self.event, "ticket_type": self.sold_type}

    def address(self, path: str) -> str:
        """A documented path, with the id of one of the rows. Fails for resources not known here."""
        ids = {
            "/api/events/": self.event,
            "/api/ticket-types/": self.ticket_type,
            "/api/ticket-purchases/": self.purchase,
        }
        prefix, parameter, rest = path.partition("{id}")
        return f"{prefix}{ids[prefix]}{rest}" if parameter else path


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
