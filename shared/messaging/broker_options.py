"""Celery's options for each kind of broker, by its URL."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from shared.config.redis_url import SENTINELS, read_sentinels

# Limits for sending a wake-up: the drivers wait for ever by default.
CONNECT_TIMEOUT_SECONDS = 2
REDIS_TIMEOUT_SECONDS = 2
RABBITMQ_TIMEOUT_SECONDS = 5
# A worker notices after twice this that RabbitMQ has vanished.
HEARTBEAT_SECONDS = 5
# kombu checks this often that its connection responds, and drops it after as long without a
# response. With kombu's own 25 a stopped or vanished primary stalls a worker for 51 seconds.
HEALTH_CHECK_SECONDS = 2
# On to the next sentinel: redis-py retries an unavailable one three times, over seconds.
AT_ONCE = Retry(NoBackoff(), 0)
REDIS_PORT = 6379
# RabbitMQ does not change a queue that exists, and another declaration of it is an error: to change
# one of these, delete the queue. A wake-up is worth nothing after seconds; the oldest are dropped.
QUORUM_QUEUE: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-message-ttl": 60_000,  # milliseconds
    "x-max-length": 10_000,
}


@dataclass(frozen=True, slots=True)
class Broker:
    """`url`: in kombu's syntax. `transport_options`: of kombu's driver. `queue_arguments`: of our
    queue's declaration. `heartbeat_seconds`: None for Celery's default. `tls`: the driver's options
    of a connection with TLS; None leaves it to the URL.
    """

    url: str
    transport_options: dict[str, Any]
    queue_arguments: dict[str, str | int] = field(default_factory=dict)
    heartbeat_seconds: int | None = None
    tls: dict[str, Any] | None = None


def broker_for(url: str) -> Broker:
    """The options for a URL that `check_broker_url` accepts.

    Args:
        url: of RabbitMQ (several nodes with semicolons between), or of a Redis.
    """
    read = READERS[url[: url.index("://") + 3]]
    return read(url)


def _rabbitmq(url: str) -> Broker:
    return Broker(
        url,
        {
            # Without it, a wake-up that RabbitMQ rejects is lost without an error.
            "confirm_publish": True,
            "read_timeout": RABBITMQ_TIMEOUT_SECONDS,
            "write_timeout": RABBITMQ_TIMEOUT_SECONDS,
        },
        QUORUM_QUEUE,
        HEARTBEAT_SECONDS,
    )


def _rabbitmq_by_tls(url: str) -> Broker:
    """By default the driver does not ask whose certificate it is.

    It knows one name for all nodes: the first one's has to stand in each certificate.
    """
    first = urlsplit(url.partition(";")[0]).hostname
    tls = {"server_hostname": first, "cert_reqs": ssl.CERT_REQUIRED}
    return replace(_rabbitmq(url), tls=tls)


def _redis(url: str, **more: Any) -> Broker:
    options = {
        **_redis_limits(),
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        # What a worker has received is in its memory alone. Else kombu notes it in keys that all
        # applications of this Redis share, and a full Redis refuses that.
        "ack_emulation": False,
        **more,
    }
    return Broker(url, options)


def _redis_by_tcp(url: str) -> Broker:
    """kombu refuses options in the query, which redis-py reads."""
    named = _read(url)
    scheme, _, _ = url.partition("://")
    host, port = named.get("host", "localhost"), named.get("port", REDIS_PORT)
    address = f"{scheme}://{_userinfo(named)}{_host(host)}:{port}/{named.get('db', 0)}"
    return _redis(address)


def _redis_by_tls(url: str) -> Broker:
    """kombu verifies no certificate by default; redis-py, which reads results, always does."""
    options = {name: value for name, value in _read(url).items() if name.startswith("ssl_")}
    plain = _redis_by_tcp(url)
    return replace(plain, tls={"ssl_cert_reqs": "required"} | options)


def _redis_by_socket(url: str) -> Broker:
    """kombu has its own scheme for a socket, and its own name for the database."""
    named = _read(url)
    path, database = quote(named["path"]), named.get("db", 0)
    address = f"redis+socket://{_userinfo(named)}{path}?virtual_host={database}"
    return _redis(address)


def _redis_by_sentinels(url: str) -> Broker:
    named = read_sentinels(url)
    # Any of them may be the first one used, so each has all parameters.
    urls = [
        f"sentinel://{_userinfo(named.credentials)}{_host(host)}:{port}/{named.database}"
        for host, port in named.addresses
    ]
    return _redis(
        ";".join(urls),
        master_name=named.service,
        sentinel_kwargs={**_redis_limits(), **named.own_credentials, "retry": AT_ONCE},
    )


def _read(url: str) -> dict[str, Any]:
    """What redis-py reads in a URL and its query."""
    read: Callable[[str], dict[str, Any]] = parse_url  # it has no types
    return read(url)


def _redis_limits() -> dict[str, Any]:
    return {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    }


def _userinfo(named: Mapping[str, Any]) -> str:
    username, password = (quote(named.get(x, ""), safe="") for x in ("username", "password"))
    return f"{username}:{password}@" if username or password else ""


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


READERS: dict[str, Callable[[str], Broker]] = {
    "amqp://": _rabbitmq,
    "amqps://": _rabbitmq_by_tls,
    "redis://": _redis_by_tcp,
    "rediss://": _redis_by_tls,
    "unix://": _redis_by_socket,
    SENTINELS: _redis_by_sentinels,
}
