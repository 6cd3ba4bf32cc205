"""A real Celery worker on a real broker: a wake-up makes it decide."""

import json
import os
import signal
from base64 import b64decode
from collections.abc import Iterator
from functools import partial

import psutil
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from purchase_worker.audit.report import audit
from purchase_worker.consumer.linger import POLLS
from purchase_worker.drain import Batch
from purchase_worker.runtime import Runtime
from purchase_worker.tasks import CLEARINGS, decide_queues
from shared.config.settings import Settings
from shared.messaging.celery_client import PURCHASES_QUEUE, WAKEUP_TICKET_TYPES_MAX
from shared.purchases import WAKEUP_KEY_PREFIX
from tests.support.factories import (
    add_ticket_type,
    add_users,
    inventory,
    make_trouble,
    outcomes,
    queue,
    request,
)
from tests.support.services import running_service
from tests.support.waiting import eventually


@pytest.fixture
def wakeups(settings: Settings, redis_client: redis.Redis) -> Iterator[WakeupSender]:
    sender = WakeupSender(settings)
    sender.start()
    yield sender
    sender.close()


@pytest.fixture
def runtime(settings: Settings, redis_client: redis.Redis) -> Iterator[Runtime]:
    runtime = Runtime(settings, "test-worker")
    yield runtime
    runtime.close()


def all_confirmed(engine: Engine, ticket_type: int) -> None:
    assert {status for _, status, _ in outcomes(engine, ticket_type)} == {"confirmed"}


def all_decided(engine: Engine, ticket_type: int) -> None:
    assert {status for _, status, _ in outcomes(engine, ticket_type)} == {"confirmed", "rejected"}


def test_a_wakeup_makes_the_worker_decide(
    engine: Engine, settings: Settings, wakeups: WakeupSender
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    with running_service("purchase_worker", settings) as worker:
        wakeups.notify([ticket_type])
        eventually(lambda: all_decided(engine, ticket_type))
    assert worker.returncode == 0


def test_one_message_makes_the_worker_decide_many_ticket_types(
    engine: Engine, settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    ticket_types = [add_ticket_type(engine, 1) for _ in range(WAKEUP_TICKET_TYPES_MAX + 1)]
    users = add_users(engine, 2)
    queue(engine, [request(user, id_) for id_ in ticket_types for user in users])
    wakeups.notify(ticket_types)
    wakeups.close()
    assert redis_client.llen(PURCHASES_QUEUE) == 2
    with running_service("purchase_worker", settings):
        for ticket_type in ticket_types:
            eventually(partial(all_decided, engine, ticket_type))
    assert audit(engine, settings).ok


def test_of_many_ticket_types_only_those_without_a_wakeup_are_told(
    wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    redis_client.set(f"{WAKEUP_KEY_PREFIX}2", 1)
    wakeups.notify([1, 2, 3])
    wakeups.close()
    (message,) = redis_client.lrange(PURCHASES_QUEUE, 0, -1)
    (told,), *_ = json.loads(b64decode(json.loads(message)["body"]))
    assert sorted(told) == [1, 3]


def test_a_ticket_type_in_trouble_keeps_no_other_of_its_message_waiting(
    engine: Engine, runtime: Runtime
) -> None:
    troubled, healthy = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, troubled), request(user, healthy)])
    make_trouble(engine, troubled)
    assert decide_queues(runtime, [troubled, healthy]) == []
    all_confirmed(engine, healthy)
    assert inventory(engine, troubled) == (3, 0, 0)


def test_what_is_left_when_a_turn_is_over_has_another(engine: Engine, runtime: Runtime) -> None:
    long, short = add_ticket_type(engine, 30), add_ticket_type(engine, 30)
    for ticket_type, buyers in ((long, 9), (short, 1)):
        queue(engine, [request(user, ticket_type) for user in add_users(engine, buyers)])
    update = {"drain_batch_rows": 4, "drain_max_batches": 2}
    runtime.settings = runtime.settings.model_copy(update=update)
    assert decide_queues(runtime, [long, short]) == [long]
    all_confirmed(engine, short)
    assert decide_queues(runtime, [long]) == []
    all_confirmed(engine, long)


def test_a_worker_whose_child_was_killed_goes_on_deciding(
    engine: Engine, settings: Settings, wakeups: WakeupSender
) -> None:
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    queue(engine, [request(user, first) for user in users])
    with running_service("purchase_worker", settings) as worker:
        wakeups.notify([first])
        eventually(lambda: all_decided(engine, first))
        for child in psutil.Process(worker.pid).children():
            os.kill(child.pid, signal.SIGKILL)
        queue(engine, [request(user, second) for user in users])

        def decided_after_another_wakeup() -> None:
            # The first wake-up may have died with the child: it was only a wake-up.
            wakeups.notify([second])
            all_decided(engine, second)

        eventually(decided_after_another_wakeup)


def test_a_turn_that_ends_early_goes_to_the_back_and_comes_again(
    engine: Engine, settings: Settings, wakeups: WakeupSender
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 60)])
    bounded = Settings(**(settings.model_dump() | {"drain_batch_rows": 5, "drain_max_batches": 2}))
    with running_service("purchase_worker", bounded):
        wakeups.notify([ticket_type])
        eventually(lambda: all_decided(engine, ticket_type))


def test_a_child_lingers_only_while_no_wakeup_waits_in_the_broker(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    first, second = add_users(engine, 2)
    linger, looks = runtime.linger, []

    def count_looks(batch: Batch) -> Iterator[None]:
        for look in linger(batch):
            looks.append(look)
            yield

    runtime.linger = count_looks
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [ticket_type])
    assert len(looks) == POLLS
    redis_client.lpush(PURCHASES_QUEUE, "a wake-up")
    queue(engine, [request(second, ticket_type)])
    decide_queues(runtime, [ticket_type])
    assert len(looks) == POLLS
    all_confirmed(engine, ticket_type)


def test_a_child_that_lingers_decides_what_comes_meanwhile(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    first, *late = add_users(engine, 4)

    def buy_meanwhile(_batch: Batch) -> Iterator[None]:
        if late:
            queue(engine, [request(late.pop(), ticket_type)])
            yield

    runtime.linger = buy_meanwhile
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [ticket_type])
    all_confirmed(engine, ticket_type)
    assert inventory(engine, ticket_type) == (30, 4, 4)


def test_what_is_committed_before_the_wakeup_is_cleared_is_decided(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    """It comes after the last look, and its own wake-up is not sent, for one is under way."""
    ticket_type = add_ticket_type(engine, 30)
    first, second = add_users(engine, 2)
    wakeup = f"{WAKEUP_KEY_PREFIX}{ticket_type}"

    def buy_too_late(_batch: Batch) -> tuple[()]:
        assert redis_client.exists(wakeup)
        queue(engine, [request(second, ticket_type)])
        return ()

    redis_client.set(wakeup, 1)
    runtime.linger = buy_too_late
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [ticket_type])
    all_confirmed(engine, ticket_type)
    assert not redis_client.exists(wakeup)


def test_whoever_is_turned_away_leaves_the_wakeup_to_the_one_who_decides(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 1)])
    wakeup = f"{WAKEUP_KEY_PREFIX}{ticket_type}"
    redis_client.set(wakeup, 1)
    with engine.connect() as other:
        other.exec_driver_sql("SELECT * FROM ticket_inventory FOR NO KEY UPDATE")
        assert decide_queues(runtime, [ticket_type]) == []
        assert redis_client.exists(wakeup)


def test_a_wakeup_that_another_took_in_vain_is_cleared_by_the_one_who_decides(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    """Left as under way it would keep the next purchase from having a wake-up of its own."""
    ticket_type = add_ticket_type(engine, 30)
    first, second = add_users(engine, 2)
    wakeup = f"{WAKEUP_KEY_PREFIX}{ticket_type}"
    decided = []

    def buy_too_late(_batch: Batch) -> tuple[()]:
        queue(engine, [request(second, ticket_type)])
        return ()

    def note(batch: Batch) -> None:
        decided.append(batch.rows)
        if len(decided) == 2:
            # Sent after the first clearing; its worker found the second purchase locked, and left.
            redis_client.set(wakeup, 1)

    runtime.linger = buy_too_late
    runtime.publish = note
    queue(engine, [request(first, ticket_type)])
    assert decide_queues(runtime, [ticket_type]) == []
    assert decided == [1, 1]
    assert not redis_client.exists(wakeup)


def test_a_worker_that_is_never_done_with_a_queue_goes_to_the_back(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    users = add_users(engine, 9)

    clear = runtime.redis.delete

    def buy_just_before(*wakeups: str) -> int:
        queue(engine, [request(users.pop(), ticket_type)])
        return clear(*wakeups)

    runtime.redis.delete = buy_just_before
    queue(engine, [request(users.pop(), ticket_type)])
    assert decide_queues(runtime, [ticket_type]) == [ticket_type]
    all_confirmed(engine, ticket_type)
    assert len(users) == 9 - 1 - CLEARINGS


def test_wakeups_are_coalesced_until_a_worker_takes_one(
    settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    for _ in range(50):
        wakeups.notify([7])
    wakeups.close()
    assert redis_client.exists(f"{WAKEUP_KEY_PREFIX}7")
    assert redis_client.llen("purchases") == 1


def test_a_broker_that_is_away_costs_a_counted_warning(settings: Settings) -> None:
    away = WakeupSender(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    away.start()
    away.notify([7])
    away.close()
    assert away.failures == 1
