"""Live figures of a running gateway, as its owner sees them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.drain import drain
from shared.config.settings import Settings
from tests.support.event_streams import events_of
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    ignore,
    issue,
    queue_buy,
    queue_many,
    queue_resolution,
)
from tests.support.gateways import authorization, running_gateway
from tests.support.servers import new_database

EVENTS = {"Accept": "text/event-stream"}
NO_REDIS = "redis://127.0.0.1:1/0"


class Sale:
    """Of two ticket types, with what can happen in it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.owner = add_user(engine)
        self.event = add_event(engine, self.owner)
        self.standing = add_ticket_type(engine, 5, event_id=self.event)
        self.seated = add_ticket_type(engine, 10, event_id=self.event, name="Seated")
        self.path = f"/api/events/{self.event}/live/"

    def decide(self) -> None:
        drain(self.engine, [self.event], self.settings, ignore)

    def happen(self) -> None:
        """5 standing are sold and 2 rejected; 3 seated are held, of which 1 is paid and 1 comes
        back; 4 seated are queued, and 1 is issued."""
        queue_many(self.engine, self.standing, 7)
        holds = [queue_buy(self.engine, [(self.seated, 1)], hold_seconds=600) for _ in range(3)]
        self.decide()
        queue_resolution(self.engine, "confirm", holds[0], payment_reference=f"p{self.event}")
        queue_resolution(self.engine, "release", holds[1])
        self.decide()
        issue(self.engine, self.seated, 1)
        queue_many(self.engine, self.seated, 4)


@pytest.fixture(scope="module")
def settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    """Of one gateway for all tests here, which has no Redis; each has a sale of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=NO_REDIS,
            keys_dir=keys_dir,
            feed_rate_burst=0,
            answer_timeout_seconds=10.0,
            drain_max_seconds=60.0,
        )


@pytest.fixture(scope="module")
def gateway_url(settings: Settings) -> Iterator[str]:
    with running_gateway(settings) as client:
        yield str(client.base_url)


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


@pytest.fixture
def owner(sale: Sale, settings: Settings, gateway_url: str) -> Iterator[httpx.Client]:
    headers = authorization(settings, sale.owner)
    with httpx.Client(base_url=gateway_url, headers=headers, timeout=30, verify=False) as client:
        yield client


def figures(found: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(found[name] for name in names)


TICKETS = ("issued", "left", "held", "confirmed")


def test_the_figures_are_those_of_the_sale(sale: Sale, owner: httpx.Client) -> None:
    sale.happen()
    answer = owner.get(sale.path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    live = answer.json()
    standing, seated = live["ticket_types"]
    assert figures(standing, *TICKETS, "state", "queued") == (5, 0, 0, 5, "sold_out", 0)
    assert figures(seated, *TICKETS, "state", "queued") == (11, 9, 1, 1, "on_sale", 4)
    assert 0 < seated["oldest_queued_seconds"] < 60
    assert figures(live, *TICKETS, "queued") == (16, 9, 1, 6, 4)
    assert live["refusals"] == {"not_enough_tickets": 2}
    assert 0 <= live["p50_seconds"] <= live["p99_seconds"] < 60
    assert figures(live, "event", "stale", "webhooks", "audit") == (sale.event, False, None, None)


def test_a_stream_has_a_sample_a_second(sale: Sale, owner: httpx.Client) -> None:
    with owner.stream("GET", sale.path, headers=EVENTS) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        events = events_of(answer.iter_lines())
        first, second = next(events), next(events)
        assert (first.event, first.retry, second.retry) == ("live", 1000, None)
        assert int(second.id) == int(first.id) + 1
        queue_many(sale.engine, sale.standing, 3)
        sale.decide()
        seen = [next(events) for _ in range(2)]
    last = json.loads(seen[-1].data)
    assert figures(last, *TICKETS) == (15, 12, 0, 3)
    assert last["decided_per_second"] > 0
    assert last["accepted_per_second"] > 0


def test_the_past_is_that_of_the_sale(sale: Sale, owner: httpx.Client) -> None:
    sale.happen()
    answer = owner.get(f"{sale.path}history/")
    assert answer.status_code == 200, answer.text
    history = answer.json()
    points, marks = history["points"], history["marks"]
    assert history["step_seconds"] == 1
    assert sum(point["decided"] for point in points) == 10
    assert sum(point["accepted"] for point in points) == 10
    assert figures(points[-1], "left", "held", "confirmed", "queued") == (9, 1, 6, 4)
    assert sum(point["refused"].get("not_enough_tickets", 0) for point in points) == 2
    assert [figures(mark, "kind", "ticket_type", "change") for mark in marks] == [
        ("capacity", sale.standing, 5),
        ("capacity", sale.seated, 10),
        ("sold_out", sale.standing, None),
        ("capacity", sale.seated, 1),
    ]


@pytest.mark.parametrize("path", ["", "history/"])
def test_only_the_owner_reads_them(
    sale: Sale, owner: httpx.Client, settings: Settings, path: str
) -> None:
    stranger = authorization(settings, add_user(sale.engine))
    for _ in range(2):  # without a sampler, and with one
        answer = owner.get(sale.path + path, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert owner.get(sale.path + path).status_code == 200
    assert owner.get(f"/api/events/999999/live/{path}").status_code == 404
    assert owner.get(sale.path + path, params={"wait": 1}).status_code == 400
    refused = owner.post(sale.path + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
