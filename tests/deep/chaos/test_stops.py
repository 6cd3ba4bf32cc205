"""What a frozen database does to those who ask, and a stop and a start to what is queued."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import msgspec
import pytest

from loadtests.client import ClientConnection
from tests.chaos.checker import UNAVAILABLE_WITHIN_SECONDS, machine_lag_seconds
from tests.chaos.conftest import BESIDE_OTHER_TESTS_SECONDS
from tests.chaos.evidence import queued_now
from tests.chaos.history import Evidence, History, Window
from tests.chaos.pulse import feel_pulse
from tests.chaos.system import System
from tests.support.factories import add_ticket_type
from tests.support.waiting import eventually
from tests.system.selling import EVENTS, PURCHASES, buy, sale_held

# One at a time on one system, which each of them leaves well.
pytestmark = pytest.mark.timeout(300)


@contextmanager
def frozen_postgres(system: System) -> Iterator[None]:
    system.postgres.freeze()
    try:
        yield
    finally:
        system.postgres.thaw()


async def ask(system: System, method: str, path: str, body: object) -> tuple[int, float]:
    """The answer's status, and how long it took in seconds."""
    connection = ClientConnection(system.operator.url)
    token = next(iter(system.tokens.values()))
    asked_at = time.monotonic()
    answer = await connection.request(method, path, token=token, body=msgspec.json.encode(body))
    connection.close()
    return answer.status, time.monotonic() - asked_at


def test_every_request_to_a_frozen_database_gets_a_503_in_time(system: System) -> None:
    """Not purchases alone."""
    body = {"ticket_type": add_ticket_type(system.engine, 10), "quantity": 1}
    questions = [
        ("POST", PURCHASES, body),
        ("GET", f"{PURCHASES}{uuid4()}/", None),
        ("GET", PURCHASES, None),
        ("GET", EVENTS, None),
        ("GET", "/api/users/me/", None),
        ("POST", "/api/token/", {"username": "ada", "password": "velvet-tram-42"}),
    ]
    history = History()

    async def ask_all() -> list[tuple[int, float]]:
        over = asyncio.Event()
        pulse = asyncio.create_task(feel_pulse(system.operator.url, history, over))
        answers = await asyncio.gather(*(ask(system, *question) for question in questions))
        over.set()
        await pulse
        return answers

    with frozen_postgres(system):
        began_at = time.monotonic()
        answers = asyncio.run(ask_all())
    lag = machine_lag_seconds(Evidence(history, [], []), Window(began_at, time.monotonic()))
    assert [status for status, _ in answers] == [503] * len(questions)
    assert max(seconds for _, seconds in answers) < UNAVAILABLE_WITHIN_SECONDS + lag, answers


@pytest.fixture
def buyer(system: System) -> Iterator[httpx.Client]:
    token = next(iter(system.tokens.values()))
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=system.operator.url, headers=bearer, timeout=60) as client:
        yield client


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
