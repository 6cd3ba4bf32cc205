"""How our threads and workers connect to Redis: never waiting long for it."""

import redis

from shared.settings import Settings


def open_redis(settings: Settings, url: str | None = None) -> redis.Redis:
    """A client whose every call gives up after `redis_timeout_seconds`; of another Redis by URL."""
    return redis.Redis.from_url(
        url or settings.redis_url,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
    )
