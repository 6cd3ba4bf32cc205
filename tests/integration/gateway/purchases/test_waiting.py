"""Clients that wait: woken by Redis, by the database without it, and let go at a stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import msgspec
import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from deploy.local.servers.embedded import EmbeddedServer, free_port, prepare_valkey
from gateway.purchases.accept import PurchaseInput
from gateway.purchases.pace import Pace
from gateway.purchases.service import Answer, PurchaseService
from gateway.purchases.waiting import DecisionListener, Waiters, WaitLimit
from purchase_worker.drain import drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.errors import ClientLeft, NotFound, Unavailable
from shared.messaging.celery_client import PURCHASES_QUEUE
from shared.purchases import DECIDED_CHANNEL, RESULT_KEY_PREFIX
from tests.conftest import run_admin, running
from tests.support.factories import add_ticket_type, add_user, ignore, outcomes, queue, request
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

LIMIT_SECONDS = 20


@asynccontextmanager
async def serving(settings: Settings, engine: Engine) -> AsyncIterator[PurchaseService]:
    service = PurchaseService(settings, engine)
    service.start()
    try:
        yield service
    finally:
        await service.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def status(answer: Answer) -> str:
    told: str = msgspec.json.decode(answer.body)["status"]
    return told


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


def run(story: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(story, LIMIT_SECONDS))  # type: ignore[arg-type]


@pytest.fixture
def buyer(engine: Engine) -> int:
    return add_user(engine)


@pytest.fixture
def queued(engine: Engine, buyer: int) -> tuple[int, str]:
    """A ticket type, and a purchase of it that is queued."""
    ticket_type = add_ticket_type(engine, 5)
    (id_,) = queue(engine, [request(buyer, ticket_type)])
    return ticket_type, id_


@pytest.mark.parametrize("redis_is_there", [True, False])
def test_who_waits_is_told_at_the_decision(
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_is_there: bool,
) -> None:
    ticket_type, id_ = queued
    if not redis_is_there:
        settings = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    async def story() -> None:
        async with serving(settings, engine) as service:
            waiting = asyncio.create_task(service.look_up(buyer, id_, wait_limit()))
            await until(lambda: service.waiting == 1)
            await asyncio.to_thread(
                drain, engine, [ticket_type], settings, ResultPublisher(settings)
            )
            assert status(await waiting) == "confirmed"
            assert service.waiting == 0

    run(story())


def test_who_waits_in_vain_is_told_that_it_is_still_queued(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            answer = await service.look_up(buyer, queued[1], wait_limit(1))
            assert (status(answer), answer.waits_seconds) == ("queued", 0.0)

    run(story())


def test_who_repeats_a_purchase_whose_wakeup_was_lost_sends_another(
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            for _attempt in range(2):
                await service.buy(
                    buyer, PurchaseInput(queued[0], 1), idempotency_key="k", request_id=""
                )
                await until(lambda: redis_client.llen(PURCHASES_QUEUE) == 1)
                redis_client.flushall()
        assert len(outcomes(engine, queued[0])) == 2

    run(story())


def test_a_stop_lets_go_of_those_who_wait(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            waiting = asyncio.create_task(
                service.look_up(buyer, queued[1], wait_limit(10 * LIMIT_SECONDS))
            )
            await until(lambda: service.waiting == 1)
            service.refuse_more()
            assert status(await waiting) == "queued"

    run(story())


def test_a_process_that_stops_accepts_nothing(
    engine: Engine, settings: Settings, buyer: int
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            service.refuse_more()
            with pytest.raises(Unavailable):
                await service.buy(
                    buyer,
                    PurchaseInput(1, 1),
                    idempotency_key=None,
                    request_id="test",
                )

    run(story())


def test_who_leaves_while_waiting_is_forgotten_at_once(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            client = Client()
            waiting = asyncio.create_task(
                service.look_up(buyer, queued[1], wait_limit(10 * LIMIT_SECONDS, client))
            )
            await until(lambda: service.waiting == 1)
            client.leave()
            with pytest.raises(ClientLeft):
                await waiting
            assert service.waiting == 0

    run(story())


def test_who_leaves_while_a_purchase_is_waited_for_has_bought_all_the_same(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            client = Client()
            buying = asyncio.create_task(
                service.buy(
                    buyer,
                    PurchaseInput(queued[0], 1),
                    idempotency_key=None,
                    request_id="",
                    wait_limit=wait_limit(10 * LIMIT_SECONDS, client),
                )
            )
            await until(lambda: len(outcomes(engine, queued[0])) == 2)
            client.leave()
            with pytest.raises(ClientLeft):
                await buying
            assert service.waiting == 0

    run(story())


def test_whom_there_is_no_room_for_is_answered_without_waiting(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    full = settings.model_copy(update={"waiting_max_rows": 0})

    async def story() -> None:
        async with serving(full, engine) as service:
            answer = await service.look_up(buyer, queued[1], wait_limit(10 * LIMIT_SECONDS))
            assert status(answer) == "queued"
            with pytest.raises(Unavailable):
                await anext(service.follow(buyer, queued[1], Client().leaves))

    run(story())


def test_nobody_waits_for_what_is_another_users(
    engine: Engine, settings: Settings, queued: tuple[int, str]
) -> None:
    stranger = add_user(engine)

    async def story() -> None:
        async with serving(settings, engine) as service:
            with pytest.raises(NotFound):
                await service.look_up(stranger, queued[1], wait_limit())
            assert service.waiting == 0

    run(story())


def test_a_full_backlog_is_refused_at_the_door(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    small = settings.model_copy(update={"backlog_max_rows": 1, "backlog_check_seconds": 0.01})
    wanted = PurchaseInput(queued[0], 1)

    async def buy_until_refused(service: PurchaseService) -> None:
        while True:
            await service.buy(buyer, wanted, idempotency_key=None, request_id="")

    async def story() -> None:
        async with serving(small, engine) as service:
            with pytest.raises(Unavailable):
                await buy_until_refused(service)

    run(story())


def test_listening_ends_at_whatever_moment_it_is_stopped(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    """redis-py swallows a cancellation that meets it connecting: that must not keep us."""

    async def story() -> None:
        for rounds in range(40):
            listener = DecisionListener(
                settings, engine, Waiters(at_most=1, at_most_each=1), Pace()
            )
            listener.start()
            for _ in range(rounds):
                await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT_SECONDS / 2):
                await listener.stop()

    asyncio.run(story())


def test_a_redis_that_is_frozen_is_not_relied_on(
    engine: Engine, settings: Settings, queued: tuple[int, str], redis_client: redis.Redis
) -> None:
    # As long as Redis is believed to tell, the database is asked every sixth time only: too late.
    rarely = settings.model_copy(update={"wait_recheck_seconds": LIMIT_SECONDS / 5.5})
    redis_pid = redis_client.info("server")["process_id"]

    async def story() -> None:
        waiters = Waiters(at_most=1, at_most_each=1)
        listener = DecisionListener(rarely, engine, waiters, Pace())
        listener.start()
        await until(lambda: int(redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1]) == 1)
        os.kill(redis_pid, signal.SIGSTOP)
        try:
            decision = waiters.expect(queued[1], 1)
            await asyncio.to_thread(drain, engine, [queued[0]], settings, ignore)
            await decision
        finally:
            os.kill(redis_pid, signal.SIGCONT)
            await listener.stop()

    run(story())


def test_who_waits_keeps_the_place_however_many_ask_for_one() -> None:
    async def story() -> None:
        waiters = Waiters(at_most=1, at_most_each=1)
        first = waiters.expect("mine", 1)
        assert waiters.expect("of another", 2).done()
        assert waiters.count == 1
        # As one who follows a purchase, and looks again now and then.
        waiters.forget("mine", first)
        assert not waiters.expect("mine", 1).done()

    asyncio.run(story())


def test_one_user_cannot_take_the_places_of_all_others() -> None:
    async def story() -> None:
        waiters = Waiters(at_most=3, at_most_each=2)
        first, second = waiters.expect("a", 1), waiters.expect("b", 1)
        assert waiters.is_full(1)
        assert waiters.expect("a", 1).done()
        assert not waiters.is_full(2)
        assert not waiters.expect("c", 2).done()
        # Whoever has no place gives none back.
        waiters.forget("a", waiters.expect("a", 1))
        assert waiters.is_full(1)
        waiters.forget("b", second)
        assert not first.done()
        assert not waiters.expect("b", 1).done()

    asyncio.run(story())


def test_leaving_costs_the_same_however_many_wait_for_one_purchase() -> None:
    async def story() -> None:
        waiters = Waiters(at_most=20_000, at_most_each=20_000)
        all_waiting = [waiters.expect("mine", 1) for _ in range(20_000)]
        began = time.thread_time()
        for future in reversed(all_waiting):
            waiters.forget("mine", future)
        # 0.02 s of CPU; with a search for each, 2.5 s.
        assert time.thread_time() - began < 0.5
        assert waiters.count == 0
        assert waiters.ids() == []

    asyncio.run(story())


def test_a_message_that_nobody_can_read_ends_no_listening(
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    only_told = settings.model_copy(update={"wait_recheck_seconds": 1_000.0})

    def listeners() -> int:
        return int(redis_client.pubsub_numsub(DECIDED_CHANNEL)[0][1])

    async def story() -> None:
        async with serving(only_told, engine) as service:
            await until(lambda: listeners() == 1)
            redis_client.publish(DECIDED_CHANNEL, b"\xc1 is no message")
            await until(lambda: listeners() == 0)
            await until(lambda: listeners() == 1)
            waiting = asyncio.create_task(service.look_up(buyer, queued[1], wait_limit()))
            await until(lambda: service.waiting == 1)
            await asyncio.to_thread(drain, engine, [queued[0]], settings, ResultPublisher(settings))
            assert status(await waiting) == "confirmed"

    run(story())


def test_a_result_that_nobody_can_read_is_read_from_the_rows(
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_client: redis.Redis,
) -> None:
    redis_client.set(RESULT_KEY_PREFIX + queued[1], b"x")

    async def story() -> None:
        async with serving(settings, engine) as service:
            assert status(await service.look_up(buyer, queued[1])) == "queued"

    run(story())


def test_what_was_accepted_is_told_so_even_when_its_outcome_cannot_be_read(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    unreadable = settings.model_copy(update={"status_pending_max_rows": 0})

    async def story() -> None:
        async with serving(unreadable, engine) as service:
            answer = await service.buy(
                buyer,
                PurchaseInput(queued[0], 1),
                idempotency_key=None,
                request_id="",
                wait_limit=wait_limit(1),
            )
            assert status(answer) == "queued"

    run(story())


# --- following ---


@contextmanager
def unreachable(server_url: str, database_url: str) -> Iterator[None]:
    """Nobody gets into the database, and who is in is thrown out."""
    name = make_url(database_url).database
    run_admin(server_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    run_admin(
        server_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        yield
    finally:
        run_admin(server_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@pytest.mark.parametrize("redis_is_there", [True, False])
def test_who_follows_is_told_the_position_then_the_outcome(
    engine: Engine,
    settings: Settings,
    buyer: int,
    queued: tuple[int, str],
    redis_is_there: bool,
) -> None:
    ticket_type, id_ = queued
    if not redis_is_there:
        settings = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    async def story() -> None:
        async with serving(settings, engine) as service:
            answers = service.follow(buyer, id_, Client().leaves)
            first = await anext(answers)
            assert first is not None
            assert status(first) == "queued"
            await asyncio.to_thread(
                drain, engine, [ticket_type], settings, ResultPublisher(settings)
            )
            later = [answer async for answer in answers if answer is not None]
            assert [status(answer) for answer in later] == ["confirmed"]
            assert service.waiting == 0

    run(story())


def test_who_waits_or_follows_is_told_even_when_redis_dies_meanwhile(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    ticket_type, id_ = queued

    async def story(mortal: EmbeddedServer, kill: Callable[[], None]) -> None:
        dependent = settings.model_copy(update={"redis_url": mortal.url})
        async with serving(dependent, engine) as service:
            answers = service.follow(buyer, id_, Client().leaves)
            await anext(answers)
            waiting = asyncio.create_task(service.look_up(buyer, id_, wait_limit()))
            await until(lambda: service.waiting == 2)
            await asyncio.to_thread(kill)
            await asyncio.to_thread(drain, engine, [ticket_type], settings, ignore)
            assert status(await waiting) == "confirmed"
            later = [answer async for answer in answers if answer is not None]
            assert [status(answer) for answer in later] == ["confirmed"]

    with folder_for_servers() as folder, ExitStack() as life:
        mortal = life.enter_context(running(prepare_valkey(folder, free_port())))
        with redis.Redis.from_url(mortal.url) as client:
            eventually(client.ping, retry_on=redis.ConnectionError)
        run(story(mortal, life.close))


def test_who_follows_sees_oneself_move_up(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    ticket_type = queued[0]
    (second,) = queue(engine, [request(buyer, ticket_type)])
    one_by_one = settings.model_copy(update={"drain_batch_rows": 1, "drain_max_batches": 1})

    async def story() -> None:
        async with serving(settings, engine) as service:
            answers = service.follow(buyer, second, Client().leaves)
            positions = []
            async for answer in answers:
                if answer is not None:
                    positions.append(msgspec.json.decode(answer.body).get("position"))
                    await asyncio.to_thread(drain, engine, [ticket_type], one_by_one, ignore)
            assert positions == [1, 0, None]

    run(story())


def test_following_ends_when_the_client_leaves(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            client = Client()
            answers = service.follow(buyer, queued[1], client.leaves)
            await anext(answers)
            client.leave()
            with pytest.raises(ClientLeft):
                await anext(answers)
            assert service.waiting == 0

    run(story())


def test_following_ends_undecided_at_a_stop(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            answers = service.follow(buyer, queued[1], Client().leaves)
            await anext(answers)
            service.refuse_more()
            assert [answer async for answer in answers if answer is not None] == []
            assert service.waiting == 0

    run(story())


def test_following_outlasts_a_database_that_is_away(
    postgres_url: str, engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    ticket_type, id_ = queued

    async def story() -> None:
        async with serving(settings, engine) as service:
            answers = service.follow(buyer, id_, Client().leaves)
            await anext(answers)
            with unreachable(postgres_url, settings.database_url):
                assert await anext(answers) is None
            await asyncio.to_thread(
                drain, engine, [ticket_type], settings, ResultPublisher(settings)
            )
            later = [answer async for answer in answers if answer is not None]
            assert [status(answer) for answer in later] == ["confirmed"]

    run(story())
