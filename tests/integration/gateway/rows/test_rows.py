"""Reads of events and ticket types: from the gateway's memory, and never older than the request."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.integration.catalog.making import make_event, make_ticket_type, sell
from tests.support.factories import add_user, run
from tests.support.figures import figures
from tests.support.gateways import authorization, running_gateway
from tests.support.servers import new_database, unreachable
from tests.support.services import running_service

EVENT, TICKET_TYPE = "/api/events/{id}/", "/api/ticket-types/{id}/"


@dataclass
class System:
    """A catalog and two gateways; the client of an organiser at the first, and of another user at
    the second."""

    settings: Settings
    database: Engine
    catalog: str
    owner: httpx.Client
    buyer: httpx.Client
    buyer_id: int

    def asked_of_the_catalog(self, route: str) -> float:
        labels = f'method="GET",route="{route}",service="catalog",status="200"'
        counted = figures(f"{self.catalog}/metrics")
        return counted.get(f"eventify_http_requests_total{{{labels}}}", 0)


@pytest.fixture(scope="module")
def system(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[System]:
    with new_database(postgres_url) as url:
        port = free_port()
        catalog = f"http://127.0.0.1:{port}"
        settings = Settings(
            database_url=url,
            redis_url=valkey_url,
            keys_dir=keys_dir,
            catalog_port=port,
            catalog_url=catalog,
            catalog_write_rate_burst=0,
            answer_timeout_seconds=10.0,
        )
        engine = open_engine(settings, "test", pool_size=2)
        organiser, buyer = add_user(engine), add_user(engine)
        with (
            running_service("catalog", settings, f"{catalog}/readyz"),
            running_gateway(settings, user_id=organiser) as first,
            running_gateway(settings, user_id=buyer) as second,
        ):
            yield System(settings, engine, catalog, first, second, buyer)
        engine.dispose()


def path_of(template: str, row: dict[str, Any]) -> str:
    return template.format(id=row["id"])


def test_every_change_is_read_back_by_everybody_at_once(system: System) -> None:
    event = make_event(system.owner)
    path = path_of(EVENT, event)
    for number in range(30):
        changed = system.owner.patch(path, json={"title": f"Night {number}"}).json()
        for client in (system.buyer, system.owner, system.buyer):
            assert client.get(path).json() == changed
    assert system.owner.delete(path).status_code == 204
    for client in (system.buyer, system.owner):
        assert client.get(path).status_code == 404


def test_what_is_sold_is_read_at_once(system: System) -> None:
    seat = make_ticket_type(system.owner, capacity=40)
    path = path_of(TICKET_TYPE, seat)
    for sold in range(1, 31):
        sell(system.database, seat["id"], system.buyer_id, 1)
        read = system.buyer.get(path).json()
        assert (read["sold"], read["capacity"]) == (sold, 40 - sold)
    run(system.database, "SELECT eventify_issue(:id, 5)", id=seat["id"])
    assert system.buyer.get(path).json()["issued"] == 45
    run(system.database, "UPDATE ticket_types SET name = 'Box' WHERE id = :id", id=seat["id"])
    assert system.buyer.get(path).json()["name"] == "Box"


@pytest.mark.parametrize("template", [EVENT, TICKET_TYPE])
def test_what_has_not_changed_is_asked_of_the_catalog_once(system: System, template: str) -> None:
    seat = make_ticket_type(system.owner)
    path = path_of(template, seat if template == TICKET_TYPE else {"id": seat["event"]})
    before = system.asked_of_the_catalog(template)

    def read(n: int) -> set[bytes]:
        with running_client(system, n) as client:
            return {client.get(path).content for _ in range(20)}

    with ThreadPoolExecutor(10) as threads:
        bodies = set().union(*threads.map(read, range(10)))
    assert len(bodies) == 1
    assert system.asked_of_the_catalog(template) == before + 1


def running_client(system: System, n: int) -> httpx.Client:
    """A client of its own, of either user, at the second gateway."""
    headers = (system.owner if n % 2 else system.buyer).headers
    authorized = {"Authorization": headers["Authorization"]}
    return httpx.Client(base_url=system.buyer.base_url, headers=authorized, timeout=30)


@pytest.mark.parametrize("template", [EVENT, TICKET_TYPE])
def test_it_is_the_catalogs_response(system: System, template: str) -> None:
    seat = make_ticket_type(system.owner)
    path = path_of(template, seat if template == TICKET_TYPE else {"id": seat["event"]})
    known = {"Authorization": system.buyer.headers["Authorization"]}
    tag = system.buyer.get(path).headers["ETag"]
    conditions: list[dict[str, str]] = [
        {},
        *({"If-None-Match": value} for value in (tag, f'"x", W/{tag}', "*", '"x"', f"{tag}x")),
    ]
    for condition in conditions:
        for method in ("GET", "HEAD"):
            directly = httpx.request(method, f"{system.catalog}{path}", headers=known | condition)
            read = system.buyer.request(method, path, headers=condition)
            assert (read.status_code, read.content) == (directly.status_code, directly.content)
            for name in ("ETag", "Content-Type", "Content-Length"):
                assert read.headers.get(name) == directly.headers.get(name), (method, condition)
            assert "default-src 'none'" in read.headers["Content-Security-Policy"]


def test_who_may_not_read_gets_nothing_from_memory(system: System) -> None:
    path = path_of(EVENT, make_event(system.owner))
    assert system.buyer.get(path).status_code == 200
    for value, code in (("", "not_authenticated"), ("Bearer x", "token_malformed")):
        refused = system.buyer.get(path, headers={"Authorization": value})
        assert (refused.status_code, refused.json()["code"]) == (401, code)
    nobody = authorization(system.settings, 2**40)
    assert system.buyer.get(path, headers=nobody).status_code == 200  # as at the catalog
    refused = system.buyer.get(path, params={"fields": "title"})
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["fields"])


def test_a_row_that_is_too_large_for_memory_is_read_from_the_catalog(system: System) -> None:
    event = make_event(system.owner)
    large = "UPDATE events SET description = repeat('é', 60000) WHERE id = :id"
    run(system.database, large, id=event["id"])
    for _ in range(2):
        assert len(system.buyer.get(path_of(EVENT, event)).json()["description"]) == 60_000


def test_without_the_database_nothing_is_read_from_memory(
    system: System, postgres_url: str
) -> None:
    path = path_of(EVENT, make_event(system.owner))
    assert system.buyer.get(path).status_code == 200
    with unreachable(postgres_url, system.settings.database_url):
        away = system.buyer.get(path)
        assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    system.database.dispose()
