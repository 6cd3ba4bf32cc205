"""Clients that wait: woken by Redis, by the database without it, and at a stop."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest
import redis
from msgspec.structs import replace
from sqlalchemy import Engine
from structlog.testing import capture_logs

from deploy.local.servers.embedded import prepare_valkey
from gateway.purchases import look_up
from gateway.purchases.look_up import PurchaseAnswer
from gateway.purchases.pace import Pace
from gateway.purchases.request_body import LineInput, PurchaseInput
from gateway.purchases.service import PurchaseService
from gateway.purchases.waiting import DecisionListener, Waiter, Waiters, WaitLimit
from gateway.resolutions.rules import Command
from gateway.resolutions.service import Resolutions
from purchase_worker.drain import drain
from purchase_worker.publish import results
from purchase_worker.publish.results import ResultPublisher
from shared.auth.caller import Caller
from shared.config.settings import Settings
from shared.errors import ClientLeft, NotFound, Unavailable
from shared.free_port import free_port
from shared.messaging.celery_client import PURCHASES_QUEUE
from shared.messaging.redis_client import database_number
from shared.purchases import DECIDED_CHANNEL, RESULT_KEY_PREFIX, DecidedBatch, pack_result
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    event_of,
    ignore,
    outcomes,
    queue,
    request,
)
from tests.support.servers import Server, running, unreachable
from tests.support.services import folder_for_servers

LIMIT_SECONDS = 20


pytestmark = pytest.mark.anyio
NO_REDIS = {"redis_url": "redis://127.0.0.1:1/0"}


@pytest.fixture
def changes() -> dict[str, object]:
    """Settings of the service that differ; tests parametrize it."""
    return {}


@pytest.fixture
async def service(
    settings: Settings, engine: Engine, changes: dict[str, object]
) -> AsyncIterator[PurchaseService]:
    service = PurchaseService(settings.model_copy(update=changes), engine)
    service.start()
    yield service
    await service.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def status(answer: PurchaseAnswer) -> str:
    return str(msgspec.json.decode(answer.body)["status"])


class Client:
    """The end of a connection that a request came from."""

    def __init__(self) -> None:
        self._left = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        self._left.set_result(None)

    def leaves(self) -> asyncio.Future[None]:
        return self._left


def wait_limit(seconds: float = LIMIT_SECONDS, client: Client | None = None) -> WaitLimit:
    return WaitLimit(seconds, (client or Client()).leaves)


@pytest.fixture
def buyer(engine: Engine) -> int:
    return add_user(engine)


@pytest.fixture
def queued(engine: Engine, buyer: int) -> tuple[int, str]:
    """A ticket type, and a purchase of it that is queued."""
    ticket_type = add_ticket_type(engine, 5)
    (id_,) = queue(engine, [request(buyer, ticket_type)])
    return ticket_type, id_


@pytest.fixture
def decide(
    engine: Engine, settings: Settings, queued: tuple[int, str]
) -> Callable[[], Awaitable[object]]:
    """Runs the worker's drain of the event; it publishes the results if Redis is there."""
    event = event_of(engine, queued[0])
    return lambda: asyncio.to_thread(drain, engine, [event], settings, ResultPublisher(settings))


async def buy(
    service: PurchaseService,
    buyer: int,
    ticket_type: int,
    key: str | None = None,
    limit: WaitLimit | None = None,
) -> PurchaseAnswer:
    return await service.buy(
        buyer,
        PurchaseInput((LineInput(ticket_type, 1),)),
        idempotency_key=key,
        request_id="",
        wait_limit=limit,
    )


def woken(redis_client: redis.Redis) -> list[int]:
    """The events of all wake-ups that no worker has taken."""
    messages = [json.loads(message) for message in redis_client.lrange(PURCHASES_QUEUE, 0, -1)]
    arguments = [json.loads(base64.b64decode(message["body"]))[0] for message in messages]
    return [event for ((*events,),) in arguments for event in events]


async def last_of(answers: AsyncIterator[PurchaseAnswer | None]) -> PurchaseAnswer:
    *_, last = [answer async for answer in answers if answer is not None]
    return last


async def statuses(answers: AsyncIterator[PurchaseAnswer | None]) -> list[str]:
    """The statuses that a stream goes on with until its end."""
    return [status(answer) async for answer in answers if answer is not None]


@pytest.mark.parametrize("changes", [{}, NO_REDIS], ids=["redis", "no redis"])
async def test_a_client_that_waits_gets_the_decision(
    service: PurchaseService,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
) -> None:
    waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], wait_limit()))
    await until(lambda: service.waiting == 1)
    await decide()
    assert status(await waiting) == "confirmed"
    assert service.waiting == 0


@pytest.mark.parametrize("in_message_bytes", [0, 10_000], ids=["read", "told"])
@pytest.mark.parametrize("way", ["buy", "wait", "follow"])
async def test_who_waits_for_a_purchase_of_a_small_batch_needs_not_read_it(
    service: PurchaseService,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    *,
    in_message_bytes: int,
    way: str,
) -> None:
    monkeypatch.setattr(results, "RESULTS_IN_MESSAGE_BYTES", in_message_bytes)
    await until(lambda: redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1] > 0)
    if way == "buy":
        await decide()  # of another purchase
        waiting = asyncio.create_task(buy(service, buyer, queued[0], limit=wait_limit()))
        await until(lambda: redis_client.llen(PURCHASES_QUEUE) == 1)
    elif way == "wait":
        waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], wait_limit()))
    else:
        stream = service.look_up.follow(Waiter(buyer), queued[1], Client().leaves)
        await anext(stream)
        waiting = asyncio.create_task(last_of(stream))
    await until(lambda: service.waiting == 1)
    read: list[str] = []
    read_before = service.look_up.read

    async def read_and_count(user_id: int, purchase_id: str) -> PurchaseAnswer:
        read.append(purchase_id)
        return await read_before(user_id, purchase_id)

    monkeypatch.setattr(service.look_up, "read", read_and_count)
    await decide()
    answer = await waiting
    assert status(answer) == "confirmed"
    assert read == ([] if in_message_bytes else [answer.id])
    assert replace(answer, rate_limit={}) == await read_before(buyer, answer.id)


async def test_what_is_told_in_another_database_of_the_same_redis_is_not_believed(
    service: PurchaseService,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    """A copy of the installation decides purchases of the same ids in its own way."""
    await until(lambda: redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1] > 0)
    waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], wait_limit(1)))
    await until(lambda: service.waiting == 1)
    ours = database_number(settings)
    message = DecidedBatch(
        ids=[queued[1]],
        decided={},
        seconds=0.0,
        results={queued[1]: pack_result(buyer, b'{"status":"rejected"}')},
        database=ours + 1,
    )
    redis_client.publish(DECIDED_CHANNEL, msgspec.msgpack.encode(message))
    assert status(await waiting) == "queued"


@pytest.mark.parametrize("garbage", [b"1 {}", b"1 x", b"9" * 5_000 + b" {}", b"", b"x"])
async def test_what_is_no_result_is_read(
    service: PurchaseService, buyer: int, queued: tuple[int, str], garbage: bytes
) -> None:
    decision = service.waiters.expect(queued[1], Waiter(buyer))
    service.waiters.wake([queued[1]], {queued[1]: garbage})
    assert status(await service.look_up.decided(buyer, queued[1], decision)) == "queued"


async def test_what_a_message_tells_of_another_users_purchase_is_not_passed_on(
    service: PurchaseService, engine: Engine, queued: tuple[int, str]
) -> None:
    """Or it would be if an id could be guessed."""
    other = add_user(engine)
    decision = service.waiters.expect(queued[1], Waiter(other))
    service.waiters.wake(
        [queued[1]], {queued[1]: pack_result(other + 1, b'{"status":"confirmed"}')}
    )
    with pytest.raises(NotFound):
        await service.look_up.decided(other, queued[1], decision)


STAGES = ("worker", "lock", "decide", "commit", "publish", "result")


@pytest.mark.parametrize("changes", [{"slow_purchase_seconds": 0.2}])
async def test_a_slow_purchase_is_logged_with_the_time_of_each_stage(
    service: PurchaseService,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
    redis_client: redis.Redis,
) -> None:
    """The worker comes late; another, quick one is not logged."""
    # Otherwise the decision may be told before, and be found only by looking again.
    await until(lambda: redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1] > 0)
    with capture_logs() as lines:
        await buy(service, buyer, queued[0])
        began = time.time()
        slow = asyncio.create_task(buy(service, buyer, queued[0], limit=wait_limit()))
        await until(lambda: service.waiting == 1)
        await asyncio.sleep(0.3)  # what is measured: how late the worker is
        await decide()
        answer = await slow
        seconds = time.time() - began
        await service.stop()  # or it is logged a second later
    (line,) = (line for line in lines if line["event"] == "slow_purchase")
    assert (line["purchase"], line["longest"], line["count"]) == (answer.id, "worker", 1)
    assert tuple(line["stages"]) == ("limits", "batcher", "accept", *STAGES)
    # The purchase waits already when that is seen.
    assert 0.2 <= line["stages"]["worker"] <= line["seconds"] <= seconds
    assert sum(line["stages"].values()) == pytest.approx(line["seconds"], abs=1e-4)


async def test_a_wait_that_reaches_its_limit_answers_that_it_is_still_queued(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    answer = await service.look_up.wait(Waiter(buyer), queued[1], wait_limit(1))
    assert (status(answer), answer.waits_seconds) == ("queued", 0.0)


async def test_a_replay_of_a_purchase_whose_wakeup_was_lost_sends_another(
    service: PurchaseService,
    engine: Engine,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    for _attempt in range(2):
        await buy(service, buyer, queued[0], key="k")
        await until(lambda: redis_client.llen(PURCHASES_QUEUE) == 1)
        redis_client.flushall()
    assert len(outcomes(engine, queued[0])) == 2


async def test_the_ticket_types_of_an_event_share_a_wakeup(
    service: PurchaseService,
    engine: Engine,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    event = event_of(engine, queued[0])
    other_type, elsewhere = add_ticket_type(engine, 5, event_id=event), add_ticket_type(engine, 5)
    for ticket_type in (queued[0], other_type, elsewhere):
        await buy(service, buyer, ticket_type)
    # They are sent in order, so that a second one of the event would be there as well.
    last = event_of(engine, elsewhere)
    await until(lambda: last in woken(redis_client))
    assert sorted(woken(redis_client)) == [event, last]


async def test_the_pace_of_an_event_is_that_of_all_its_ticket_types(
    service: PurchaseService, engine: Engine, buyer: int, redis_client: redis.Redis
) -> None:
    adults = add_ticket_type(engine, 500)
    event = event_of(engine, adults)
    children = add_ticket_type(engine, 500, event_id=event)
    queue(engine, [request(buyer, adults) for _ in range(20)])
    (last,) = queue(engine, [request(buyer, children)])

    def slow(decided: int) -> bytes:
        return msgspec.msgpack.encode(DecidedBatch(ids=[], decided={event: decided}, seconds=1.0))

    async def estimate() -> float:
        answer = await service.look_up.read(buyer, last)
        return float(msgspec.json.decode(answer.body)["estimated_wait_seconds"])

    assert await estimate() == 0.1
    await until(lambda: int(redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1]) == 1)
    redis_client.publish(DECIDED_CHANNEL, slow(4))
    async with asyncio.timeout(LIMIT_SECONDS):
        while await estimate() != 20 / 4:
            await asyncio.sleep(0.01)


async def test_a_stop_ends_waits_and_accepts_nothing_more(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    limit = wait_limit(10 * LIMIT_SECONDS)
    waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], limit))
    await until(lambda: service.waiting == 1)
    service.stop_accepting()
    assert status(await waiting) == "queued"
    assert service.waiting == 0
    with pytest.raises(Unavailable):
        await buy(service, buyer, queued[0])


@pytest.mark.parametrize("is_buying", [False, True])
async def test_a_client_that_disconnects_is_forgotten_and_what_it_bought_stays_accepted(
    service: PurchaseService,
    engine: Engine,
    buyer: int,
    queued: tuple[int, str],
    *,
    is_buying: bool,
) -> None:
    client = Client()
    limit = wait_limit(10 * LIMIT_SECONDS, client)
    waiting = asyncio.create_task(
        buy(service, buyer, queued[0], limit=limit)
        if is_buying
        else service.look_up.wait(Waiter(buyer), queued[1], limit)
    )
    await until(lambda: service.waiting == 1)
    await until(lambda: len(outcomes(engine, queued[0])) == 1 + is_buying)
    client.leave()
    with pytest.raises(ClientLeft):
        await waiting
    assert service.waiting == 0


@pytest.mark.parametrize("changes", [{"waiting_max_rows_of_user": 1}])
async def test_with_a_key_clients_wait_for_each_buyer(
    service: PurchaseService, engine: Engine
) -> None:
    owner = add_user(engine)
    ticket_type = add_ticket_type(engine, 5, event_id=add_event(engine, owner))
    wanted = [replace(request(owner, ticket_type), buyer=name) for name in ("theo", "mira", "theo")]
    key = Caller(owner, key_id=1)

    async def answer(purchase_id: str) -> str:
        waiter = await service.look_up.waiter(key, purchase_id)
        return status(await service.look_up.wait(waiter, purchase_id, wait_limit()))

    theos, miras, one_too_many = queue(engine, wanted)
    waiting = [asyncio.create_task(answer(id_)) for id_ in (theos, miras)]
    await until(lambda: service.waiting == 2)
    async with asyncio.timeout(LIMIT_SECONDS / 2):
        assert await answer(one_too_many) == "queued"
    service.stop_accepting()
    assert await asyncio.gather(*waiting) == ["queued", "queued"]


@pytest.mark.parametrize("changes", [{"waiting_max_rows": 0}])
async def test_beyond_the_limit_of_clients_that_wait_the_answer_comes_at_once(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    answer = await service.look_up.wait(Waiter(buyer), queued[1], wait_limit(10 * LIMIT_SECONDS))
    assert status(answer) == "queued"
    with pytest.raises(Unavailable):
        await anext(service.look_up.follow(Waiter(buyer), queued[1], Client().leaves))


async def test_nobody_waits_for_a_purchase_of_another_user(
    service: PurchaseService, engine: Engine, queued: tuple[int, str]
) -> None:
    with pytest.raises(NotFound):
        await service.look_up.wait(Waiter(add_user(engine)), queued[1], wait_limit())
    assert service.waiting == 0


@pytest.mark.parametrize("changes", [{"backlog_max_rows": 1, "backlog_check_seconds": 0.01}])
async def test_with_a_full_backlog_nothing_is_accepted(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    async def buy_until_unavailable() -> None:
        while True:
            await buy(service, buyer, queued[0])

    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(Unavailable):
            await buy_until_unavailable()


async def test_the_listener_stops_at_any_moment(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    """redis-py swallows a cancellation that arrives while it connects."""
    for rounds in range(40):
        listener = DecisionListener(
            settings, engine, Waiters(at_most=1, at_most_each=1, at_most_of_keys=1), Pace()
        )
        listener.start()
        for _ in range(rounds):
            await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT_SECONDS / 2):
            await listener.stop()


async def test_a_frozen_redis_is_not_relied_on(
    engine: Engine, settings: Settings, queued: tuple[int, str], redis_client: redis.Redis
) -> None:
    # While the subscription is believed to work, only every sixth recheck is done: too late.
    event = event_of(engine, queued[0])
    rarely = settings.model_copy(update={"wait_recheck_seconds": LIMIT_SECONDS / 5.5})
    redis_pid = redis_client.info("server")["process_id"]

    waiters = Waiters(at_most=1, at_most_each=1, at_most_of_keys=1)
    listener = DecisionListener(rarely, engine, waiters, Pace())
    listener.start()
    await until(lambda: int(redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1]) == 1)
    os.kill(redis_pid, signal.SIGSTOP)
    try:
        decision = waiters.expect(queued[1], Waiter(1))
        await asyncio.to_thread(drain, engine, [event], settings, ignore)
        async with asyncio.timeout(LIMIT_SECONDS):
            await decision
    finally:
        os.kill(redis_pid, signal.SIGCONT)
        await listener.stop()


async def test_a_client_that_waits_again_is_within_the_limit() -> None:
    waiters = Waiters(at_most=1, at_most_each=1, at_most_of_keys=1)
    first = waiters.expect("mine", Waiter(1))
    assert waiters.expect("of another", Waiter(2)).done()
    assert waiters.count == 1
    # As for a stream, which reads again now and then.
    waiters.forget("mine", first)
    assert not waiters.expect("mine", Waiter(1)).done()


async def test_one_user_cannot_use_up_the_limit_of_all() -> None:
    waiters = Waiters(at_most=3, at_most_each=2, at_most_of_keys=3)
    first, second = waiters.expect("a", Waiter(1)), waiters.expect("b", Waiter(1))
    assert waiters.is_full(Waiter(1))
    assert waiters.expect("a", Waiter(1)).done()
    assert not waiters.is_full(Waiter(2))
    assert not waiters.expect("c", Waiter(2)).done()
    # One that does not wait does not count when it is forgotten.
    waiters.forget("a", waiters.expect("a", Waiter(1)))
    assert waiters.is_full(Waiter(1))
    waiters.forget("b", second)
    assert not first.done()
    assert not waiters.expect("b", Waiter(1)).done()


async def test_each_buyer_of_a_key_has_a_limit_of_his_own_within_that_of_all_keys() -> None:
    waiters = Waiters(at_most=20, at_most_each=2, at_most_of_keys=5)
    first, _ = (waiters.expect("a", Waiter(1, "theo")) for _ in range(2))
    assert waiters.is_full(Waiter(1, "theo"))
    assert not waiters.is_full(Waiter(2, "theo"))
    invented = [waiters.expect("a", Waiter(1, name)) for name in ("", "mira", "ida")]
    assert not any(decision.done() for decision in invented)
    assert waiters.is_full(Waiter(1, "one more"))
    # What waits with a token is not the keys'.
    assert not waiters.is_full(Waiter(1))
    waiters.forget("a", first)
    assert not waiters.is_full(Waiter(1, "one more"))


async def test_leaving_costs_the_same_however_many_wait_for_one_purchase() -> None:
    waiters = Waiters(at_most=20_000, at_most_each=20_000, at_most_of_keys=1)
    all_waiting = [waiters.expect("mine", Waiter(1)) for _ in range(20_000)]
    began = time.thread_time()
    for future in reversed(all_waiting):
        waiters.forget("mine", future)
    # 0.02 s of CPU; with a search for each, 2.5 s.
    assert time.thread_time() - began < 0.5
    assert waiters.count == 0
    assert waiters.ids() == []


@pytest.mark.parametrize("changes", [{"wait_recheck_seconds": 1_000.0}])
async def test_an_unreadable_message_does_not_end_the_subscription(
    service: PurchaseService,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
    decide: Callable[[], Awaitable[object]],
) -> None:
    def subscribers() -> int:
        return int(redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1])

    await until(lambda: subscribers() == 1)
    redis_client.publish(DECIDED_CHANNEL, b"\xc1 is no message")
    await until(lambda: subscribers() == 0)
    await until(lambda: subscribers() == 1)
    waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], wait_limit()))
    await until(lambda: service.waiting == 1)
    await decide()
    assert status(await waiting) == "confirmed"


async def test_an_unreadable_result_is_read_from_the_rows(
    service: PurchaseService, buyer: int, queued: tuple[int, str], redis_client: redis.Redis
) -> None:
    redis_client.set(RESULT_KEY_PREFIX + queued[1], b"x")
    assert status(await service.look_up.read(buyer, queued[1])) == "queued"


@pytest.mark.parametrize("changes", [{"status_pending_max_rows": 0}])
async def test_an_accepted_purchase_whose_outcome_cannot_be_read_is_answered_as_queued(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    assert status(await buy(service, buyer, queued[0], limit=wait_limit(1))) == "queued"


# --- following ---


@pytest.mark.parametrize("changes", [{}, NO_REDIS], ids=["redis", "no redis"])
async def test_a_stream_has_the_position_then_the_outcome(
    service: PurchaseService,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
) -> None:
    answers = service.look_up.follow(Waiter(buyer), queued[1], Client().leaves)
    first = await anext(answers)
    assert first is not None
    assert status(first) == "queued"
    await decide()
    assert await statuses(answers) == ["confirmed"]
    assert service.waiting == 0


@pytest.fixture
def mortal() -> Iterator[tuple[Server, ExitStack]]:
    """A Redis of the test's own, and what stops it."""
    with folder_for_servers() as folder, ExitStack() as life:
        server = life.enter_context(running(prepare_valkey(folder, free_port())))
        yield server, life


class TestRedisStopsMeanwhile:
    @pytest.fixture
    def changes(self, mortal: tuple[Server, ExitStack]) -> dict[str, object]:
        return {"redis_url": mortal[0].url}

    async def test_waits_and_streams_get_the_decision(
        self,
        service: PurchaseService,
        buyer: int,
        queued: tuple[int, str],
        mortal: tuple[Server, ExitStack],
        decide: Callable[[], Awaitable[object]],
    ) -> None:
        answers = service.look_up.follow(Waiter(buyer), queued[1], Client().leaves)
        await anext(answers)
        waiting = asyncio.create_task(service.look_up.wait(Waiter(buyer), queued[1], wait_limit()))
        await until(lambda: service.waiting == 2)
        await asyncio.to_thread(mortal[1].close)
        await decide()
        assert status(await waiting) == "confirmed"
        assert await statuses(answers) == ["confirmed"]


async def test_a_stream_shows_each_position(
    service: PurchaseService,
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look_up, "read_again_seconds", lambda _seconds: 0.1)
    event = event_of(engine, queued[0])
    (second,) = queue(engine, [request(buyer, queued[0])])
    one_by_one = settings.model_copy(update={"drain_batch_rows": 1, "drain_max_batches": 1})

    answers = service.look_up.follow(Waiter(buyer), second, Client().leaves)
    positions = []
    async for answer in answers:
        if answer is not None:
            positions.append(msgspec.json.decode(answer.body).get("position"))
            await asyncio.to_thread(drain, engine, [event], one_by_one, ignore)
    assert positions == [1, 0, None]


@pytest.mark.parametrize("changes", [{"waiting_max_rows_of_user": 1}])
async def test_a_stream_pauses_between_reads_however_many_commands_of_its_user_wait(
    service: PurchaseService,
    settings: Settings,
    engine: Engine,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look_up, "read_again_seconds", lambda _seconds: 0.2)
    answers = service.look_up.follow(Waiter(buyer), queued[1], Client().leaves)
    await anext(answers)
    resolutions = Resolutions(settings, engine, service.waiters, service.wakeups)
    for id_ in ("1", "2", "3"):
        command = Command(id=id_, kind="confirm", user_id=buyer, request_id="")
        assert not resolutions._expect(id_, command).done()
    began = time.monotonic()
    assert [await anext(answers) for _ in range(5)] == [None] * 5
    assert time.monotonic() - began >= 5 * 0.2
    await decide()
    assert await statuses(answers) == ["confirmed"]
    await resolutions.stop()


async def test_a_stream_ends_when_the_client_disconnects(
    service: PurchaseService, buyer: int, queued: tuple[int, str]
) -> None:
    client = Client()
    answers = service.look_up.follow(Waiter(buyer), queued[1], client.leaves)
    await anext(answers)
    client.leave()
    with pytest.raises(ClientLeft):
        await anext(answers)
    assert service.waiting == 0


async def test_a_stream_outlasts_an_outage_of_the_database(
    service: PurchaseService,
    postgres_url: str,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    decide: Callable[[], Awaitable[object]],
) -> None:
    answers = service.look_up.follow(Waiter(buyer), queued[1], Client().leaves)
    await anext(answers)
    with unreachable(postgres_url, settings.database_url):
        assert await anext(answers) is None
    await decide()
    assert await statuses(answers) == ["confirmed"]
