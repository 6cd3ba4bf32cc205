"""Whatever befalls PostgreSQL, Redis and the lines to them, every promise holds."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import msgspec
import pytest

from loadtests.client import Connection
from tests.chaos.catalogue import FAULTS, IN_SHORT, random_pair
from tests.chaos.checker import REFUSED_WITHIN_SECONDS, machine_lag_seconds
from tests.chaos.conftest import SEED, survives
from tests.chaos.faults.fault import Fault
from tests.chaos.history import Evidence, History, Window
from tests.chaos.pulse import feel_pulse
from tests.chaos.system import System
from tests.support.factories import add_ticket_type
from tests.system.selling import EVENTS, PURCHASES

# One at a time on one system, which each of them leaves well.
pytestmark = pytest.mark.timeout(300)
STRIKING = [
    fault
    for kind in ("redis", "wake-ups", "postgres", "network")
    for fault in FAULTS[kind]
    if fault in IN_SHORT
]
# `make chaos` draws more of them than could be tried here.
_chance = random.Random(SEED)
PAIRS = [random_pair(_chance) for _ in range(2)]


@pytest.mark.parametrize("fault", STRIKING)
def test_nothing_is_lost_whatever_befalls_servers_and_lines(
    system: System, fault: type[Fault]
) -> None:
    survives(system, fault)


@pytest.mark.parametrize(
    "pair", PAIRS, ids=["-".join(fault.__name__ for fault in pair) for pair in PAIRS]
)
def test_two_faults_at_once_break_no_promise(system: System, pair: list[type[Fault]]) -> None:
    survives(system, *pair)


@contextmanager
def frozen_postgres(system: System) -> Iterator[None]:
    system.postgres.freeze()
    try:
        yield
    finally:
        system.postgres.thaw()


async def ask(system: System, method: str, path: str, body: object) -> tuple[int, float]:
    """The answer's status, and how long it took in seconds."""
    connection = Connection(system.operator.url)
    token = next(iter(system.tokens.values()))
    asked_at = time.monotonic()
    answer = await connection.request(method, path, token=token, body=msgspec.json.encode(body))
    connection.close()
    return answer.status, time.monotonic() - asked_at


def test_whatever_is_asked_of_a_frozen_database_is_refused_in_time(system: System) -> None:
    """Not purchases alone."""
    wish = {"ticket_type": add_ticket_type(system.engine, 10), "quantity": 1}
    questions = [
        ("POST", PURCHASES, wish),
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
    assert max(seconds for _, seconds in answers) < REFUSED_WITHIN_SECONDS + lag, answers
