"""How our threads and workers connect to Redis: never waiting long for it."""

from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis

from shared.settings import Settings

# Its name, then its arguments.
Command = tuple[str | bytes | int, ...]


def open_redis(settings: Settings, url: str | None = None) -> redis.Redis:
    """A client whose every call gives up after `redis_timeout_seconds`; of another Redis by URL."""
    return redis.Redis.from_url(
        url or settings.redis_url,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
    )


def send_all(client: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands all at once, then read all answers, in order.

    redis-py's own pipeline does the same and takes six times as long (docs/decisions/0011).

    Raises:
        redis.RedisError: Redis is away, or refuses one of them.
    """
    pack: Callable[..., bytes] = hiredis.pack_command  # its own types allow for one argument
    packed = b"".join([pack(command) for command in commands])
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # redis-py gives no types here
    try:
        connection.send_packed_command([packed])
        return [connection.read_response() for _command in commands]
    except BaseException:
        # Answers may be left unread, which must not be taken for those of the next call.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
