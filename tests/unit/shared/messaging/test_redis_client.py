"""Sentinels that are away are passed over at once."""

import asyncio
import time

import pytest
import redis

from shared.config.settings import Settings
from shared.messaging.celery_client import make_celery, send_wakeup
from shared.messaging.redis_client import open_async_redis, open_redis

# Nothing listens there; the kernel says so at once.
DEAD = "redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/tickets"
AT_ONCE_SECONDS = 0.9  # the first pause of redis-py's own patience is one second at most


@pytest.fixture
def settings() -> Settings:
    return Settings(database_url="postgresql://db/x", redis_url=DEAD)


def test_threads_ask_each_sentinel_once(settings: Settings) -> None:
    began = time.monotonic()
    with open_redis(settings) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert time.monotonic() - began < AT_ONCE_SECONDS


def test_event_loops_ask_each_sentinel_once(settings: Settings) -> None:
    async def ask() -> None:
        async with open_async_redis(settings) as client:
            await client.ping()

    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        asyncio.run(ask())
    assert time.monotonic() - began < AT_ONCE_SECONDS


def test_a_wakeup_is_given_up_as_soon(settings: Settings) -> None:
    began = time.monotonic()
    with make_celery(settings) as celery, pytest.raises(Exception, match="No master found"):
        send_wakeup(celery, [1])
    assert time.monotonic() - began < AT_ONCE_SECONDS
