"""Two gateways on two hosts are one door: what was begun at one goes on at the other."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest

from gateway.catalog_proxy import CONNECT_TIMEOUT_SECONDS
from tests.environments.hosts.system import SystemOfHosts
from tests.support.factories import add_ticket_type, rows
from tests.support.waiting import eventually
from tests.system.selling import EVENTS, PURCHASES, WAIT, buy, sale_held

# A limit that a few requests reach, and that fills up again too slowly to matter.
BURST = 20
LIMITS = {
    "EVENTIFY_PURCHASE_RATE_BURST": str(BURST),
    "EVENTIFY_PURCHASE_RATE_PER_SECOND": "0.1",
}
# Whoever waits is woken by the message about the decision; the database is asked every six seconds.
WOKEN_WITHIN_SECONDS = 3.0
KEYS = 10
PURCHASES_STORED = "SELECT count(*) FROM requests WHERE ticket_type_id = :id AND kind = 'buy'"
Gateways = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def settings_of_services() -> dict[str, str]:
    return LIMITS


@pytest.fixture(scope="module")
def tokens(system: SystemOfHosts) -> Iterator[str]:
    """A token of another buyer each time."""
    return iter(system.tokens.values())


@pytest.fixture
def gateways(system: SystemOfHosts, tokens: Iterator[str]) -> Iterator[Gateways]:
    """One buyer, at the first gateway and at the second."""
    headers = {"Authorization": f"Bearer {next(tokens)}"}
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30))
            for url in system.gateway_urls
        )
        yield first, second


@pytest.fixture
def ticket_type(system: SystemOfHosts) -> int:
    return add_ticket_type(system.engine, 1_000)


def test_what_was_bought_at_one_is_waited_for_at_the_other(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    first, second = gateways
    with ThreadPoolExecutor(1) as thread:
        with sale_held(system.database_url, ticket_type):
            bought = buy(first, ticket_type).json()
            queued = second.get(f"{PURCHASES}{bought['id']}/").json()
            assert (queued["status"], queued["position"]) == ("queued", 0)
            waiting = thread.submit(second.get, f"{PURCHASES}{bought['id']}/?wait=20")
        free_at = time.monotonic()
        assert waiting.result().json()["status"] == "confirmed"
    assert time.monotonic() - free_at < WOKEN_WITHIN_SECONDS


def test_what_was_bought_at_one_is_followed_at_the_other(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    first, second = gateways
    events = {"Accept": "text/event-stream"}
    with ExitStack() as held:
        held.enter_context(sale_held(system.database_url, ticket_type))
        _before, followed = (buy(first, ticket_type).json()["id"] for _ in range(2))
        with second.stream("GET", f"{PURCHASES}{followed}/", headers=events) as stream:
            reported = (
                json.loads(line[6:]) for line in stream.iter_lines() if line[:6] == "data: "
            )
            assert next(reported)["position"] == 1
            held.close()
            assert list(reported)[-1]["status"] == "confirmed"


def test_the_same_key_at_both_at_once_makes_one_purchase(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(KEYS):
            key = {"Idempotency-Key": f'"{uuid4().hex}"'}
            asked = [threads.submit(buy, gateway, ticket_type, **key) for gateway in gateways]
            answers = [each.result() for each in asked]
            assert {answer.status_code for answer in answers} <= {201, 202}
            assert len({answer.json()["id"] for answer in answers}) == 1
    assert rows(system.engine, PURCHASES_STORED, id=ticket_type) == [(KEYS,)]


def test_who_signed_in_at_one_is_signed_in_at_the_other(gateways: Gateways) -> None:
    first, second = gateways
    person = {"username": f"ada{random.randrange(10**6)}", "password": "correct horse battery"}
    assert first.post("/api/users/", json=person).status_code == 201
    pair = first.post("/api/token/", json=person).json()
    bearer = {"Authorization": f"Bearer {pair['access']}"}
    assert second.get("/api/users/me/", headers=bearer).json()["username"] == person["username"]
    keys = [gateway.get("/.well-known/jwks.json").json() for gateway in gateways]
    assert keys[0] == keys[1]


def test_a_refresh_token_that_was_spent_at_one_is_spent_at_the_other(gateways: Gateways) -> None:
    """At once it is a retry, which gets the same successor, whichever gateway is asked."""
    first, second = gateways
    person = {"username": f"ada{random.randrange(10**6)}", "password": "correct horse battery"}
    first.post("/api/users/", json=person)
    refresh = {"refresh": first.post("/api/token/", json=person).json()["refresh"]}
    assert first.post("/api/token/refresh/", json=refresh).status_code == 200
    retried = second.post("/api/token/refresh/", json=refresh).json()
    for gateway in gateways:
        spent = gateway.post("/api/token/blacklist/", json={"refresh": retried["refresh"]})
        assert spent.status_code in (200, 401)
    assert second.post("/api/token/refresh/", json=retried).status_code == 401


def test_the_limit_of_a_user_holds_at_both_together(gateways: Gateways, ticket_type: int) -> None:
    first, second = gateways
    at_first = [buy(first, ticket_type).status_code for _ in range(BURST + 1)]
    assert 429 in at_first, at_first
    # Who is new to a gateway is let through once, unasked (docs/decisions/0008).
    at_second = [buy(second, ticket_type).status_code for _ in range(2)]
    assert at_second == [202, 429]


def test_without_redis_each_gateway_limits_by_itself(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    system.network.unplug("valkey")
    try:
        for gateway in gateways:
            codes = [buy(gateway, ticket_type).status_code for _ in range(BURST + 2)]
            assert codes[:BURST] == [202] * BURST
            assert codes[-1] == 429
    finally:
        system.network.plug("valkey")


def test_a_purchase_that_waits_at_a_gateway_that_dies_is_found_at_the_other(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    first, second = gateways
    key = {"Idempotency-Key": f'"{uuid4().hex}"'}
    host = system.hosts["gateway-1"]
    with ThreadPoolExecutor(1) as thread:
        with sale_held(system.database_url, ticket_type):
            waiting = thread.submit(buy, first, ticket_type, **key, **WAIT)

            def stored() -> None:
                assert rows(system.engine, PURCHASES_STORED, id=ticket_type) == [(1,)]

            eventually(stored)
            host.lose()
        try:
            again = buy(second, ticket_type, **key, **WAIT)
            assert again.json()["status"] == "confirmed"
            assert again.headers["Idempotency-Replayed"] == "true"
        finally:
            host.boot()
            with pytest.raises(httpx.TransportError):
                waiting.result()


def test_a_silent_catalog_is_a_503_and_keeps_nobody_from_buying(
    system: SystemOfHosts, gateways: Gateways, ticket_type: int
) -> None:
    """A connection that was open is given up when an answer is overdue, a new one sooner."""
    gateway, _other = gateways
    limits = (system.settings.catalog_timeout_seconds, CONNECT_TIMEOUT_SECONDS)
    assert gateway.get(EVENTS).status_code == 200
    system.network.silence("catalog")
    try:
        for limit in limits:
            answer = gateway.get(EVENTS)
            assert answer.status_code == 503
            assert answer.elapsed.total_seconds() < limit + 1
        assert buy(gateway, ticket_type, **WAIT).status_code == 201
    finally:
        system.network.mend("catalog")
    assert gateway.get(EVENTS).status_code == 200
