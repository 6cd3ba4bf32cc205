"""A real Celery worker on a real broker: a wake-up makes it decide."""

import json
import os
import signal
import time
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from itertools import chain

import httpx
import psutil
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from purchase_worker.audit.all_events import audit
from purchase_worker.consumer.linger import POLLS
from purchase_worker.drain import Batch
from purchase_worker.runtime import Runtime
from purchase_worker.tasks import CLEARINGS, decide_queues
from shared.config.settings import Settings
from shared.free_port import free_port
from shared.messaging.celery_client import (
    PURCHASES_QUEUE,
    WAKEUP_EVENTS_MAX,
    make_celery,
    send_wakeup,
)
from shared.purchases import WAKEUP_KEY_PREFIX
from tests.support.factories import (
    add_ticket_type,
    add_users,
    all_confirmed,
    counter,
    event_of,
    make_trouble,
    outcomes,
    queue,
    request,
)
from tests.support.poison_messages import POISON_MESSAGES
from tests.support.services import running_service
from tests.support.waiting import eventually


@pytest.fixture
def runtime(settings: Settings, redis_client: redis.Redis) -> Iterator[Runtime]:
    runtime = Runtime(settings, "test-worker")
    yield runtime
    runtime.close()


def all_decided(engine: Engine, ticket_type: int) -> None:
    assert {status for _, status, _ in outcomes(engine, ticket_type)} == {"confirmed", "rejected"}


def test_the_worker_decides_many_events_of_one_message_in_several_drains(
    engine: Engine, settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    """A drain takes one request of each; for the others the worker sends itself a wake-up."""
    limits = {"drain_batch_rows": WAKEUP_EVENTS_MAX, "drain_max_batches": 1}
    ticket_types = [add_ticket_type(engine, 1) for _ in range(WAKEUP_EVENTS_MAX + 1)]
    users = add_users(engine, 2)
    queue(engine, [request(user, id_) for id_ in ticket_types for user in users])
    wakeups.notify(event_of(engine, id_) for id_ in ticket_types)
    wakeups.close()
    assert redis_client.llen(PURCHASES_QUEUE) == 2
    with running_service("purchase_worker", Settings(**(settings.model_dump() | limits))) as worker:
        for ticket_type in ticket_types:
            eventually(partial(all_decided, engine, ticket_type))
    assert worker.returncode == 0
    assert audit(engine, settings).ok


def test_only_events_without_a_wakeup_under_way_are_sent(
    wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    redis_client.set(f"{WAKEUP_KEY_PREFIX}2", 1)
    wakeups.notify([1, 2, 3])
    wakeups.close()
    (message,) = redis_client.lrange(PURCHASES_QUEUE, 0, -1)
    (sent,), *_ = json.loads(b64decode(json.loads(message)["body"]))
    assert sorted(sent) == [1, 3]


def test_an_event_that_cannot_be_decided_blocks_no_other_of_its_message(
    engine: Engine, runtime: Runtime
) -> None:
    troubled, healthy = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, troubled), request(user, healthy)])
    events = [event_of(engine, troubled), event_of(engine, healthy)]
    make_trouble(engine, events[0])
    assert decide_queues(runtime, events) == []
    all_confirmed(engine, healthy)
    assert counter(engine, troubled) == (3, 0)


def test_what_is_left_at_the_limit_of_a_drain_gets_another_wakeup(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    """Which is under way, so that gateways send no other."""
    long, short = add_ticket_type(engine, 30), add_ticket_type(engine, 30)
    for ticket_type, buyers in ((long, 9), (short, 1)):
        queue(engine, [request(user, ticket_type) for user in add_users(engine, buyers)])
    update = {"drain_batch_rows": 4, "drain_max_batches": 2}
    runtime.settings = runtime.settings.model_copy(update=update)
    deep, shallow = event_of(engine, long), event_of(engine, short)
    assert decide_queues(runtime, [deep, shallow]) == [deep]
    assert redis_client.keys(f"{WAKEUP_KEY_PREFIX}*") == [f"{WAKEUP_KEY_PREFIX}{deep}".encode()]
    assert redis_client.pttl(f"{WAKEUP_KEY_PREFIX}{deep}") > 0
    all_confirmed(engine, short)
    assert decide_queues(runtime, [deep]) == []
    all_confirmed(engine, long)


def test_a_worker_whose_child_was_killed_goes_on_deciding(
    engine: Engine, settings: Settings, wakeups: WakeupSender
) -> None:
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    queue(engine, [request(user, first) for user in users])
    with running_service("purchase_worker", settings) as worker:
        wakeups.notify([event_of(engine, first)])
        eventually(lambda: all_decided(engine, first))
        for child in psutil.Process(worker.pid).children():
            os.kill(child.pid, signal.SIGKILL)
        queue(engine, [request(user, second) for user in users])

        def decided_after_another_wakeup() -> None:
            # The first wake-up may be lost with the child.
            wakeups.notify([event_of(engine, second)])
            all_decided(engine, second)

        eventually(decided_after_another_wakeup)


@pytest.fixture
def nohup() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("nohup")
def test_under_nohup_a_worker_and_its_children_bear_the_end_of_their_terminal(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    settings = settings.model_copy(update={"metrics_port": free_port()})
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    metrics = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    with (
        running_service("purchase_worker", settings, metrics) as worker,
        make_celery(settings) as celery,
    ):
        queue(engine, [request(user, first) for user in users])
        send_wakeup(celery, [event_of(engine, first)])
        eventually(lambda: all_decided(engine, first))
        children = psutil.Process(worker.pid).children()
        for process in (worker, *children):
            process.send_signal(signal.SIGHUP)
        queue(engine, [request(user, second) for user in users])
        send_wakeup(celery, [event_of(engine, second)])
        eventually(lambda: all_decided(engine, second))
        assert psutil.Process(worker.pid).children() == children
        assert httpx.get(metrics).status_code == 200


def test_messages_that_are_no_wakeups_end_no_worker_and_no_child(
    engine: Engine, settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    with running_service("purchase_worker", settings) as worker:
        queue(engine, [request(user, first) for user in users])
        wakeups.notify([event_of(engine, first)])
        eventually(lambda: all_decided(engine, first))
        children = psutil.Process(worker.pid).children()
        # More than the prefetch limit: one that counted against it for ever would be noticed.
        for message in POISON_MESSAGES * 2:
            redis_client.lpush(PURCHASES_QUEUE, message)
        queue(engine, [request(user, second) for user in users])
        wakeups.notify([event_of(engine, second)])
        eventually(lambda: all_decided(engine, second))
        assert worker.poll() is None
        assert psutil.Process(worker.pid).children() == children
    assert worker.returncode == 0


def test_tasks_that_another_application_holds_in_the_same_redis_stay_its_own(
    engine: Engine, settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    """Celery's name for them is `unacked`, whatever the application."""
    task = {"properties": {}, "headers": {}, "body": "takes two minutes"}
    redis_client.hset("unacked", "tag", json.dumps([task, "", "celery"]))
    redis_client.zadd("unacked_index", {"tag": time.time() - 120})
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    wakeups.notify([event_of(engine, ticket_type)])
    with running_service("purchase_worker", settings):
        eventually(lambda: all_decided(engine, ticket_type))
    assert redis_client.hkeys("unacked") == redis_client.zrange("unacked_index", 0, -1) == [b"tag"]
    assert redis_client.llen("celery") == 0


def test_a_worker_that_starts_while_redis_is_full_consumes_over_few_connections(
    engine: Engine, settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    early, late = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    users = add_users(engine, 5)
    queue(engine, [request(user, early) for user in users])
    wakeups.notify([event_of(engine, early)])
    wakeups.close()
    before = redis_client.config_get("maxmemory*")
    redis_client.config_set("maxmemory", 1, "maxmemory-policy", "noeviction")
    try:
        with running_service("purchase_worker", settings):
            eventually(lambda: all_decided(engine, early))
            assert redis_client.info("clients")["connected_clients"] < 20
            redis_client.config_set("maxmemory", 0)
            queue(engine, [request(user, late) for user in users])
            with make_celery(settings) as celery:
                send_wakeup(celery, [event_of(engine, late)])
            eventually(lambda: all_decided(engine, late))
    finally:
        redis_client.config_set(*chain.from_iterable(before.items()))


def test_a_child_lingers_only_while_no_wakeup_waits_in_the_broker(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    first, second = add_users(engine, 2)
    linger, polls = runtime.linger, []

    def count_polls(batch: Batch) -> Iterator[None]:
        for poll in linger(batch):
            polls.append(poll)
            yield

    runtime.linger = count_polls
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [event])
    assert len(polls) == POLLS
    redis_client.lpush(PURCHASES_QUEUE, "a wake-up")
    queue(engine, [request(second, ticket_type)])
    decide_queues(runtime, [event])
    assert len(polls) == POLLS
    all_confirmed(engine, ticket_type)


def test_a_lingering_child_decides_what_arrives_meanwhile(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    first, *late = add_users(engine, 4)

    def buy_meanwhile(_batch: Batch) -> Iterator[None]:
        if late:
            queue(engine, [request(late.pop(), ticket_type)])
            yield

    runtime.linger = buy_meanwhile
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [event])
    all_confirmed(engine, ticket_type)
    assert counter(engine, ticket_type) == (30, 4)


def test_what_is_committed_before_the_wakeup_is_cleared_is_decided(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    """It comes after the last read, and sends no wake-up of its own, because one is under way."""
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    first, second = add_users(engine, 2)
    wakeup = f"{WAKEUP_KEY_PREFIX}{event}"

    def buy_too_late(_batch: Batch) -> tuple[()]:
        assert redis_client.exists(wakeup)
        queue(engine, [request(second, ticket_type)])
        return ()

    redis_client.set(wakeup, 1)
    runtime.linger = buy_too_late
    queue(engine, [request(first, ticket_type)])
    decide_queues(runtime, [event])
    all_confirmed(engine, ticket_type)
    assert not redis_client.exists(wakeup)


def test_a_worker_that_skips_a_locked_queue_does_not_clear_its_wakeup(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 1)])
    wakeup = f"{WAKEUP_KEY_PREFIX}{event}"
    redis_client.set(wakeup, 1)
    with engine.connect() as other:
        other.exec_driver_sql("SELECT * FROM lanes FOR NO KEY UPDATE")
        assert decide_queues(runtime, [event]) == []
        assert redis_client.exists(wakeup)


def test_a_wakeup_that_a_skipping_worker_received_is_cleared_by_the_one_that_decides(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    """Left as under way, it would suppress the wake-up of the next purchase."""
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    first, second = add_users(engine, 2)
    wakeup = f"{WAKEUP_KEY_PREFIX}{event}"
    decided = []

    def buy_too_late(_batch: Batch) -> tuple[()]:
        queue(engine, [request(second, ticket_type)])
        return ()

    def note(batch: Batch) -> None:
        decided.append(batch.rows)
        if len(decided) == 2:
            # Sent after the first clearing; its worker skipped the locked lane.
            redis_client.set(wakeup, 1)

    runtime.linger = buy_too_late
    runtime.publish = note
    queue(engine, [request(first, ticket_type)])
    assert decide_queues(runtime, [event]) == []
    assert decided == [1, 1]
    assert not redis_client.exists(wakeup)


def test_a_queue_that_never_stays_empty_goes_to_the_back(
    engine: Engine, runtime: Runtime, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 30)
    event = event_of(engine, ticket_type)
    users = add_users(engine, 9)

    clear = runtime.redis.delete

    def buy_just_before(*wakeups: str) -> int:
        queue(engine, [request(users.pop(), ticket_type)])
        return clear(*wakeups)

    runtime.redis.delete = buy_just_before
    queue(engine, [request(users.pop(), ticket_type)])
    assert decide_queues(runtime, [event]) == [event]
    all_confirmed(engine, ticket_type)
    assert len(users) == 9 - 1 - CLEARINGS


def test_wakeups_are_coalesced_until_a_worker_receives_one(
    settings: Settings, wakeups: WakeupSender, redis_client: redis.Redis
) -> None:
    for _ in range(50):
        wakeups.notify([7])
    wakeups.close()
    assert redis_client.exists(f"{WAKEUP_KEY_PREFIX}7")
    assert redis_client.llen("purchases") == 1


def test_an_unavailable_broker_is_only_counted_and_logged(settings: Settings) -> None:
    away = WakeupSender(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    away.start()
    away.notify([7])
    away.close()
    assert away.breaker.failures == 1
