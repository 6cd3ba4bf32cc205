"""Connects to Redis, directly or by its sentinels, with short timeouts."""

from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from shared.config.redis_url import SENTINELS, Sentinels, read_sentinels
from shared.config.settings import Settings

RedisError = redis.RedisError
# Its name, then its arguments.
Command = tuple[str | bytes | int, ...]


class _WatchedRedis(redis.Redis):
    """The primary that sentinels name; each new connection asks them."""

    def close(self) -> None:
        super().close()
        pool: Any = self.connection_pool
        pool.sentinel_manager.close()


class _AsyncWatchedRedis(redis.asyncio.Redis):
    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        await pool.sentinel_manager.aclose()


def open_redis(settings: Settings, url: str | None = None) -> redis.Redis:
    """A client whose calls end after `redis_timeout_seconds`.

    `url`: of another Redis than the setting's.
    """
    url = url or settings.redis_url
    if not url.startswith(SENTINELS):
        return redis.Redis.from_url(url, **_limits(settings))
    named = read_sentinels(url)
    at_once = Retry(NoBackoff(), 0)
    sentinel = Sentinel(named.addresses, **_of_sentinels(named, settings, at_once))
    client: redis.Redis = sentinel.master_for(named.service, _WatchedRedis)
    return client


def open_async_redis(settings: Settings) -> redis.asyncio.Redis:
    """The same for an event loop, with TCP keepalive."""
    if not settings.redis_url.startswith(SENTINELS):
        return redis.asyncio.Redis.from_url(
            settings.redis_url, socket_keepalive=True, **_limits(settings)
        )
    named = read_sentinels(settings.redis_url)
    options = _of_sentinels(named, settings, AsyncRetry(NoBackoff(), 0))
    sentinel = AsyncSentinel(named.addresses, socket_keepalive=True, **options)
    client: redis.asyncio.Redis = sentinel.master_for(named.service, _AsyncWatchedRedis)
    return client


def database_number(settings: Settings) -> int:
    """Of the database that `redis_url` names; nothing is connected to."""
    if settings.redis_url.startswith(SENTINELS):
        return read_sentinels(settings.redis_url).database
    parse: Callable[[str], dict[str, Any]] = parse_url  # it has no types
    return int(parse(settings.redis_url).get("db", 0))


def _limits(settings: Settings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.redis_timeout_seconds,
        "socket_connect_timeout": settings.redis_timeout_seconds,
    }


def _of_sentinels(
    named: Sentinels, settings: Settings, retry: Retry | AsyncRetry
) -> dict[str, Any]:
    return {
        # redis-py would retry an unavailable one three times, over seconds, before the next.
        "sentinel_kwargs": {**_limits(settings), **named.own_credentials, "retry": retry},
        "db": named.database,
        **named.credentials,
        **_limits(settings),
    }


def send_all(client: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """Send all commands at once, then read the replies, in order.

    redis-py's own pipeline does the same and takes six times as long (docs/decisions/0011).

    Raises:
        redis.RedisError: Redis is unavailable, or one of them is an error.
    """
    pack: Callable[..., bytes] = hiredis.pack_command  # its own types allow for one argument
    packed = b"".join([pack(command) for command in commands])
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # redis-py has no types here
    try:
        connection.send_packed_command([packed])
        return [connection.read_response() for _command in commands]
    except BaseException:
        # Unread replies must not become those of the next call.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
