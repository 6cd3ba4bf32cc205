"""Validates the URL of Celery's broker."""

from shared.config.redis_url import CLUSTERS, NO_CLUSTER, REDIS, check_redis_url

RABBITMQ = ("amqp://", "amqps://")
WANTED = "must be an amqp://, amqps://, redis://, rediss://, unix:// or redis+sentinel:// URL"


def check_broker_url(url: str) -> None:
    """Raises ValueError, with a message that follows a setting's name, if it is not supported."""
    if url.startswith(CLUSTERS):
        raise ValueError(NO_CLUSTER)
    if not url.startswith((*RABBITMQ, *REDIS)):
        raise ValueError(WANTED)
    if url.startswith(REDIS):
        check_redis_url(url)
