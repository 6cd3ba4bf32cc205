"""What Celery has to be told about a broker that is chosen by its URL alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.config.redis_url import SENTINELS, Credentials, read_sentinels

# Sending a wake-up may cost this much and no more: the drivers' own default is to wait for ever.
CONNECT_TIMEOUT_SECONDS = 2
REDIS_TIMEOUT_SECONDS = 2
RABBITMQ_TIMEOUT_SECONDS = 5
# A worker notices after twice this that RabbitMQ is gone without a word.
HEARTBEAT_SECONDS = 5
# kombu waits for wake-ups a second at a time, looks this often whether there was an answer, and
# drops a connection whose answer is overdue by as much. With its own 25, a primary that stands
# still, or whose machine is gone, leaves a worker deaf for 51 seconds.
LOOK_SECONDS = 2
# On to the next sentinel: redis-py asks one that is dead three times more, over seconds.
AT_ONCE = Retry(NoBackoff(), 0)
# RabbitMQ never changes a queue that exists, and refuses whoever declares it otherwise: to change
# one of these, delete the queue. A wake-up is worth nothing after seconds; the oldest are dropped.
QUORUM_QUEUE: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-message-ttl": 60_000,  # milliseconds
    "x-max-length": 10_000,
}


@dataclass(frozen=True, slots=True)
class Broker:
    """`url`: as kombu reads it. `transport_options`: of its driver there. `queue_arguments`: with
    which our queue is declared. `heartbeat_seconds`: None for Celery's own.
    """

    url: str
    transport_options: dict[str, Any]
    queue_arguments: dict[str, str | int] = field(default_factory=dict)
    heartbeat_seconds: int | None = None


def broker_for(url: str, visibility_seconds: int) -> Broker:
    """The broker at a URL that `check_broker_url` lets pass.

    Args:
        url: of RabbitMQ (several nodes with semicolons between), or of a Redis.
        visibility_seconds: after which Redis gives a wake-up to another worker; RabbitMQ knows when
            a worker is gone.
    """
    read = READERS[url[: url.index("://") + 3]]
    return read(url, visibility_seconds)


def _rabbitmq(url: str, _visibility_seconds: int) -> Broker:
    return Broker(
        url,
        {
            # Without it, a wake-up that RabbitMQ refuses is lost and nobody hears of it.
            "confirm_publish": True,
            "read_timeout": RABBITMQ_TIMEOUT_SECONDS,
            "write_timeout": RABBITMQ_TIMEOUT_SECONDS,
        },
        QUORUM_QUEUE,
        HEARTBEAT_SECONDS,
    )


def _redis(url: str, visibility_seconds: int, **more: Any) -> Broker:
    options = {
        **_redis_limits(),
        "socket_keepalive": True,
        "health_check_interval": LOOK_SECONDS,
        "visibility_timeout": visibility_seconds,
        **more,
    }
    return Broker(url, options)


def _redis_by_tls(url: str, visibility_seconds: int) -> Broker:
    """kombu asks for no certificate unless told to; redis-py, which reads results, always does."""
    address, _, query = url.partition("?")
    options = {"ssl_cert_reqs": "required"} | dict(parse_qsl(query))
    return _redis(f"{address}?{urlencode(options)}", visibility_seconds)


def _redis_by_socket(url: str, visibility_seconds: int) -> Broker:
    """kombu's scheme for a socket is one of its own, and so is its word for the database."""
    address, _, query = url.removeprefix("unix://").partition("?")
    database = dict(parse_qsl(query)).get("db", "0")
    return _redis(f"redis+socket://{address}?virtual_host={database}", visibility_seconds)


def _redis_by_sentinels(url: str, visibility_seconds: int) -> Broker:
    named = read_sentinels(url)
    # Any of them may be the first that is asked, so each has all of it.
    urls = [
        f"sentinel://{_userinfo(named.credentials)}{_host(host)}:{port}/{named.database}"
        for host, port in named.addresses
    ]
    return _redis(
        ";".join(urls),
        visibility_seconds,
        master_name=named.service,
        sentinel_kwargs={**_redis_limits(), **named.own_credentials, "retry": AT_ONCE},
    )


def _redis_limits() -> dict[str, Any]:
    return {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    }


def _userinfo(credentials: Credentials) -> str:
    if not credentials:
        return ""
    username, password = (quote(credentials.get(x, ""), safe="") for x in ("username", "password"))
    return f"{username}:{password}@"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


READERS: dict[str, Callable[[str, int], Broker]] = {
    "amqp://": _rabbitmq,
    "amqps://": _rabbitmq,
    "redis://": _redis,
    "rediss://": _redis_by_tls,
    "unix://": _redis_by_socket,
    SENTINELS: _redis_by_sentinels,
}
