"""The feed of a running gateway: pages in order, and the next entry as soon as it is there."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.drain import Batch, drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.database.epoch import renew_epoch
from shared.free_port import free_port
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    issue,
    queue_buy,
    queue_many,
    run,
)
from tests.support.gateways import authorization, client_of, running_gateway
from tests.support.servers import new_database
from tests.support.services import running_service
from tests.support.waiting import eventually

PROMPT_SECONDS = 0.05
WITHOUT_REDIS_SECONDS = 1.0
# Of a webhook's delivery: there is none here.
LEASE_SECONDS = 1.0
NO_REDIS = "redis://127.0.0.1:1/0"


class Sale:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.owner = add_user(engine)
        self.event = add_event(engine, self.owner)
        self.ticket_type = add_ticket_type(engine, 100_000, event_id=self.event)
        self.path = f"/api/events/{self.event}/ledger/"

    def decide(self) -> float:
        """Decide what is queued as a worker does; returns when it was committed."""
        publisher = ResultPublisher(self.settings)
        committed: list[float] = []

        def publish(batch: Batch) -> None:
            committed.append(time.monotonic())
            publisher(batch)

        drain(self.engine, [self.event], self.settings, publish)
        publisher.redis.close()
        return committed[0]

    def sell(self, how_many: int = 1) -> float:
        queue_many(self.engine, self.ticket_type, how_many)
        return self.decide()


@pytest.fixture(scope="module")
def settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    """Of one gateway for all tests here; each has a sale of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=valkey_url,
            keys_dir=keys_dir,
            catalog_write_rate_burst=0,
            feed_rate_burst=0,
            answer_timeout_seconds=10.0,
            drain_max_seconds=60.0,
        )


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


@pytest.fixture
def reader(sale: Sale, settings: Settings, gateway_url: str) -> Iterator[httpx.Client]:
    with client_of(gateway_url, settings, sale.owner) as client:
        yield client


def page(reader: httpx.Client, url: str, **query: Any) -> dict[str, Any]:
    answer = reader.get(url, params=query or None)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def once_it_waits(reader: httpx.Client, then: Callable[[], Any]) -> Any:
    """Call `then` while a client waits."""

    def someone_waits() -> None:
        assert "eventify_clients_waiting 1.0" in reader.get("/metrics").text

    eventually(someone_waits)
    return then()


def numbers(body: dict[str, Any]) -> list[int]:
    return [entry["number"] for entry in body["entries"]]


def test_who_follows_next_reads_every_entry_once_and_in_order(
    sale: Sale, reader: httpx.Client
) -> None:
    sale.sell(9)
    url, found, caching = f"{sale.path}?limit=4", [], []
    for _ in range(4):
        answer = reader.get(url)
        found.append(numbers(answer.json()))
        caching.append(answer.headers["cache-control"])
        url = answer.json()["next"]
    assert found == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    forever, revalidated = "private, max-age=31536000, immutable", "private, no-cache"
    # The first address had no epoch; the last pages will have more.
    assert caching == [revalidated, forever, revalidated, revalidated]
    sale.sell(3)
    assert numbers(page(reader, url)) == [11, 12, 13]
    epoch = answer.json()["epoch"]
    first = reader.get(sale.path, params={"limit": 4, "epoch": epoch})
    assert first.headers["cache-control"] == forever
    filtered = {"limit": 4, "epoch": epoch, "kinds": "confirmed,held"}
    answer = reader.get(sale.path, params=filtered)
    assert numbers(answer.json()) == [2, 3, 4, 5]
    assert answer.headers["cache-control"] == revalidated
    assert answer.headers["vary"] == "Authorization, Accept"
    assert "kinds=confirmed%2Cheld" in answer.json()["next"]


def test_a_page_has_a_thousand_entries_at_most(sale: Sale, reader: httpx.Client) -> None:
    sale.sell(1_500)
    body = page(reader, sale.path, limit=5_000)
    assert numbers(body) == list(range(1, 1_001))
    assert numbers(page(reader, body["next"])) == list(range(1_001, 1_502))


def test_entries_reach_who_waits_at_the_end_at_once(sale: Sale, reader: httpx.Client) -> None:
    end = page(reader, sale.path)["next"]
    delays = []
    with ThreadPoolExecutor(1) as waiting:
        for number in range(2, 22):
            coming = waiting.submit(page, reader, f"{end}&wait=20")
            committed = once_it_waits(reader, sale.sell)
            body = coming.result()
            delays.append(time.monotonic() - committed)
            assert numbers(body) == [number]
            end = body["next"].replace("&wait=20", "")
    assert sorted(delays)[len(delays) // 2] < PROMPT_SECONDS, delays


def test_what_the_owner_issues_reaches_who_waits_at_once(sale: Sale, settings: Settings) -> None:
    """Without the catalog's message it is found after a quarter of a second, on average."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    catalog = settings.model_copy(update={"catalog_port": port})
    delays = []
    with (
        running_service("catalog", catalog, f"{url}/readyz"),
        running_gateway(settings, user_id=sale.owner, catalog_url=url) as reader,
        ThreadPoolExecutor(1) as waiting,
    ):
        end = page(reader, sale.path)["next"]
        capacity = f"/api/ticket-types/{sale.ticket_type}/capacity/"
        for _ in range(15):
            coming = waiting.submit(page, reader, f"{end}&wait=20")
            issued = once_it_waits(reader, lambda: reader.post(capacity, json={"change": 1}))
            answered = time.monotonic()
            assert issued.status_code == 200, issued.text
            body = coming.result()
            delays.append(time.monotonic() - answered)
            assert [entry["kind"] for entry in body["entries"]] == ["issued"]
            end = body["next"].replace("&wait=20", "")
    assert sorted(delays)[len(delays) // 2] < PROMPT_SECONDS, delays


def test_a_batch_that_decides_no_purchase_is_told_of_as_well(
    sale: Sale, reader: httpx.Client
) -> None:
    held = queue_buy(sale.engine, [(sale.ticket_type, 1)], hold_seconds=1)
    sale.decide()
    end = page(reader, sale.path)["next"]
    run(
        sale.engine,
        "INSERT INTO requests (id, event_id, user_id, kind, purchase_id)"
        " VALUES (gen_random_uuid(), :event, :owner, 'release', CAST(:id AS uuid))",
        event=sale.event,
        owner=sale.owner,
        id=held,
    )
    with ThreadPoolExecutor(1) as waiting:
        coming = waiting.submit(page, reader, f"{end}&wait=20")
        committed = once_it_waits(reader, sale.decide)
        assert [entry["kind"] for entry in coming.result()["entries"]] == ["released"]
    assert time.monotonic() - committed < WITHOUT_REDIS_SECONDS / 4


def test_without_redis_entries_come_within_a_second(sale: Sale, settings: Settings) -> None:
    """So do those that are written by somebody who announces nothing."""
    with (
        running_gateway(settings, user_id=sale.owner, redis_url=NO_REDIS) as reader,
        ThreadPoolExecutor(1) as waiting,
    ):
        end = page(reader, sale.path)["next"]
        for entry in (sale.sell, lambda: issue(sale.engine, sale.ticket_type, 1)):
            for _ in range(3):
                coming = waiting.submit(page, reader, f"{end}&wait=20")
                once_it_waits(reader, entry)
                began = time.monotonic()
                body = coming.result()
                assert len(body["entries"]) == 1
                assert time.monotonic() - began < WITHOUT_REDIS_SECONDS
                end = body["next"].replace("&wait=20", "")


def test_a_wait_ends_at_its_limit_with_an_empty_page(sale: Sale, reader: httpx.Client) -> None:
    end = page(reader, sale.path)["next"]
    began = time.monotonic()
    body = page(reader, f"{end}&wait=1")
    assert (numbers(body), body["next"]) == ([], f"{end}&wait=1")
    assert 1 <= time.monotonic() - began < 3


def test_who_waits_for_other_kinds_is_given_no_empty_page_for_each_entry(
    sale: Sale, reader: httpx.Client
) -> None:
    end = page(reader, sale.path)["next"]
    with ThreadPoolExecutor(1) as waiting:
        coming = waiting.submit(page, reader, f"{end}&wait=20&kinds=rejected")
        once_it_waits(reader, sale.sell)
        queue_buy(sale.engine, [(sale.ticket_type, 1_000_000)])
        sale.decide()
        assert numbers(coming.result()) == [3]


def test_the_addresses_of_before_a_restore_are_refused(sale: Sale, reader: httpx.Client) -> None:
    before = page(reader, sale.path)
    renew_epoch(sale.engine, restored=False, lease_seconds=LEASE_SECONDS)
    answer = reader.get(before["next"])
    assert (answer.status_code, answer.json()["code"]) == (409, "epoch_changed")
    now = page(reader, sale.path)
    assert now["epoch"] == answer.json()["epoch"] != before["epoch"]
    # It is the same database from now on.
    renew_epoch(sale.engine, restored=False, lease_seconds=LEASE_SECONDS)
    assert numbers(page(reader, now["next"])) == []
    renew_epoch(sale.engine, restored=True, lease_seconds=LEASE_SECONDS)
    assert reader.get(now["next"]).status_code == 409


def test_the_ledger_is_its_owners(sale: Sale, reader: httpx.Client, settings: Settings) -> None:
    assert reader.get("/api/events/999999/ledger/").status_code == 404
    stranger = authorization(settings, add_user(sale.engine))
    answer = reader.get(sale.path, headers=stranger)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=-1", "after"),
        ("after=1.0", "after"),
        (f"after={2**63}", "after"),
        ("limit=0", "limit"),
        ("wait=soon", "wait"),
        ("epoch=1", "epoch"),
        ("kinds=sold", "kinds"),
        ("kinds=", "kinds"),
        ("kind=held", "kind"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(
    sale: Sale, reader: httpx.Client, query: str, field: str
) -> None:
    answer = reader.get(f"{sale.path}?{query}")
    assert answer.status_code == 400, answer.text
    assert list(answer.json()["errors"]) == [field]
