"""Clients that wait: woken by Redis, by the database without it, and let go at a stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.accept import PurchaseInput
from gateway.purchases.pace import Pace
from gateway.purchases.service import Answer, PurchaseService
from gateway.purchases.waiting import DecisionListener, Waiters
from purchase_worker.drain import drain
from purchase_worker.results import ResultPublisher
from shared.errors import NotFound, Unavailable
from shared.purchases import DECIDED_CHANNEL, RESULT_KEY_PREFIX
from shared.settings import Settings
from tests.factories import add_ticket_type, add_user, queue, request

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
            waiting = asyncio.create_task(service.look_up(buyer, id_, LIMIT_SECONDS))
            await until(lambda: service.waiting == 1)
            await asyncio.to_thread(drain, engine, ticket_type, settings, ResultPublisher(settings))
            assert status(await waiting) == "confirmed"
            assert service.waiting == 0

    run(story())


def test_who_waits_in_vain_is_told_that_it_is_still_queued(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            answer = await service.look_up(buyer, queued[1], 1)
            assert (status(answer), answer.waits_seconds) == ("queued", 0.0)

    run(story())


def test_a_stop_lets_go_of_those_who_wait(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            waiting = asyncio.create_task(service.look_up(buyer, queued[1], 10 * LIMIT_SECONDS))
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
                    wait_seconds=0,
                )

    run(story())


def test_who_left_is_forgotten(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    async def story() -> None:
        async with serving(settings, engine) as service:
            waiting = asyncio.create_task(service.look_up(buyer, queued[1], LIMIT_SECONDS))
            await until(lambda: service.waiting == 1)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert service.waiting == 0

    run(story())


def test_nobody_waits_for_what_is_another_users(
    engine: Engine, settings: Settings, queued: tuple[int, str]
) -> None:
    stranger = add_user(engine)

    async def story() -> None:
        async with serving(settings, engine) as service:
            with pytest.raises(NotFound):
                await service.look_up(stranger, queued[1], LIMIT_SECONDS)
            assert service.waiting == 0

    run(story())


def test_a_full_backlog_is_refused_at_the_door(
    engine: Engine, settings: Settings, buyer: int, queued: tuple[int, str]
) -> None:
    small = settings.model_copy(update={"backlog_max_rows": 1, "backlog_check_seconds": 0.01})
    wanted = PurchaseInput(queued[0], 1)

    async def buy_until_refused(service: PurchaseService) -> None:
        while True:
            await service.buy(buyer, wanted, idempotency_key=None, request_id="", wait_seconds=0)

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
            listener = DecisionListener(settings, engine, Waiters(), Pace())
            listener.start()
            for _ in range(rounds):
                await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT_SECONDS / 2):
                await listener.stop()

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
            waiting = asyncio.create_task(service.look_up(buyer, queued[1], LIMIT_SECONDS))
            await until(lambda: service.waiting == 1)
            await asyncio.to_thread(drain, engine, queued[0], settings, ResultPublisher(settings))
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
                wait_seconds=1,
            )
            assert status(answer) == "queued"

    run(story())
