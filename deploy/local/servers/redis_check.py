"""Whether a Redis that the operator named can be reached."""

import redis

from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.messaging.redis_client import open_redis


def redis_answers(settings: Settings) -> bool:
    """
    Raises:
        ConfigurationError: its URL cannot be read.
    """
    try:
        client = open_redis(settings)
    except ValueError as error:
        raise ConfigurationError(f"EVENTIFY_REDIS_URL cannot be read: {error}.") from error
    try:
        with client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
