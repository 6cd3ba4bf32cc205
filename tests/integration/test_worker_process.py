"""A real Celery worker on a real broker: a hint makes it decide."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.hints import HintSender
from shared.purchases import HINT_KEY_PREFIX
from shared.settings import Settings
from tests.factories import add_ticket_type, add_users, outcomes, queue, request
from tests.services import running_service
from tests.waiting import eventually


@pytest.fixture
def hints(settings: Settings, redis_client: redis.Redis) -> Iterator[HintSender]:
    sender = HintSender(settings)
    sender.start()
    yield sender
    sender.close()


def all_decided(engine: Engine, ticket_type: int) -> None:
    assert {status for _, status, _ in outcomes(engine, ticket_type)} == {"confirmed", "rejected"}


def test_a_hint_makes_the_worker_decide(
    engine: Engine, settings: Settings, hints: HintSender
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    with running_service("purchase_worker", settings) as worker:
        hints.notify([ticket_type])
        eventually(lambda: all_decided(engine, ticket_type))
    assert worker.returncode == 0


def test_a_worker_whose_child_was_killed_goes_on_deciding(
    engine: Engine, settings: Settings, hints: HintSender
) -> None:
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    queue(engine, [request(user, first) for user in users])
    with running_service("purchase_worker", settings) as worker:
        hints.notify([first])
        eventually(lambda: all_decided(engine, first))
        for child in psutil.Process(worker.pid).children():
            os.kill(child.pid, signal.SIGKILL)
        queue(engine, [request(user, second) for user in users])

        def decided_after_another_hint() -> None:
            # The first hint may have died with the child: it was only a hint.
            hints.notify([second])
            all_decided(engine, second)

        eventually(decided_after_another_hint)


def test_a_turn_that_ends_early_goes_to_the_back_and_comes_again(
    engine: Engine, settings: Settings, hints: HintSender
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 60)])
    bounded = Settings(**(settings.model_dump() | {"drain_batch_rows": 5, "drain_max_batches": 2}))
    with running_service("purchase_worker", bounded):
        hints.notify([ticket_type])
        eventually(lambda: all_decided(engine, ticket_type))


def test_hints_are_coalesced_until_a_worker_takes_one(
    settings: Settings, hints: HintSender, redis_client: redis.Redis
) -> None:
    for _ in range(50):
        hints.notify([7])
    hints.close()
    assert redis_client.exists(f"{HINT_KEY_PREFIX}7")
    assert redis_client.llen("purchases") == 1


def test_a_broker_that_is_away_costs_a_counted_warning(settings: Settings) -> None:
    away = HintSender(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    away.start()
    away.notify([7])
    away.close()
    assert away.failures == 1
