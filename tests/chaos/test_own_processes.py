"""A process may die or be stopped at any time: every promise holds, and who waits is answered."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.chaos.catalogue import FAULTS, IN_SHORT
from tests.chaos.conftest import BESIDE_OTHER_TESTS_SECONDS, survives
from tests.chaos.evidence import queued_now
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System
from tests.support.factories import add_ticket_type
from tests.support.waiting import eventually
from tests.system.selling import PURCHASES, buy, sale_held

# One at a time on one system, which each of them leaves well.
pytestmark = pytest.mark.timeout(300)
# Far longer than a stop may take: who is answered before was not kept waiting for this.
WAIT_SECONDS = 60


STRIKING = [
    fault
    for kind in ("processes", "failpoints", "clock")
    for fault in FAULTS[kind]
    if fault in IN_SHORT
]


@pytest.mark.parametrize("fault", STRIKING)
def test_no_moment_is_a_bad_one_to_die(system: System, fault: type[Fault]) -> None:
    survives(system, fault)


@pytest.fixture
def buyer(system: System) -> Iterator[httpx.Client]:
    token = next(iter(system.tokens.values()))
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=system.operator.url, headers=bearer, timeout=60) as client:
        yield client


def somebody_waits(system: System) -> None:
    """At one of the gateways: each new connection asks any of them."""
    assert "\neventify_clients_waiting 1.0\n" in httpx.get(f"{system.operator.url}/metrics").text


def test_who_waits_at_a_stop_is_answered_at_once(system: System, buyer: httpx.Client) -> None:
    ticket_type = add_ticket_type(system.engine, 10)
    with sale_held(system.database_url, ticket_type), ThreadPoolExecutor(1) as threads:
        accepted = buy(buyer, ticket_type)
        assert accepted.status_code == 202
        url = f"{PURCHASES}{accepted.json()['id']}/?wait={WAIT_SECONDS}"
        waiting = threads.submit(buyer.get, url)
        gateways = [system.process(f"gateway-{number}") for number in (1, 2)]
        eventually(lambda: somebody_waits(system))
        for gateway in gateways:
            gateway.send_signal(signal.SIGTERM)
        answer = waiting.result(timeout=WAIT_SECONDS / 2)
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"
    _gone, alive = psutil.wait_procs(gateways, timeout=BESIDE_OTHER_TESTS_SECONDS)
    assert not alive
    system.wait_until_all_run()


def test_a_start_finishes_what_a_stop_left(system: System, buyer: httpx.Client) -> None:
    ticket_type = add_ticket_type(system.engine, 10)
    with sale_held(system.database_url, ticket_type):
        ids = [buy(buyer, ticket_type).json()["id"] for _ in range(5)]
        system.operator.run("down")
        assert queued_now(system) == len(ids)
    system.up()

    def all_decided() -> None:
        statuses = {buyer.get(f"{PURCHASES}{id_}/").json()["status"] for id_ in ids}
        assert statuses == {"confirmed"}

    eventually(all_decided, within_seconds=BESIDE_OTHER_TESTS_SECONDS)
