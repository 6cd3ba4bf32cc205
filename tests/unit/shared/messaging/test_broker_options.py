"""Celery's options for each kind of broker."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis

from shared.config.broker_url import check_broker_url
from shared.config.settings import Settings
from shared.messaging.broker_options import REDIS_TIMEOUT_SECONDS, broker_for
from shared.messaging.celery_client import make_celery
from tests.support.receivers import self_signed


def test_rabbitmq_confirms_wakeups_and_keeps_them_in_a_bounded_quorum_queue() -> None:
    broker = broker_for("amqp://ada:secret@rabbit:5672/tickets")
    assert broker.url == "amqp://ada:secret@rabbit:5672/tickets"
    assert broker.transport_options["confirm_publish"] is True
    assert broker.queue_arguments["x-queue-type"] == "quorum"
    assert broker.queue_arguments.keys() >= {"x-max-length", "x-message-ttl"}


def test_a_redis_gets_no_options_of_rabbitmq() -> None:
    broker = broker_for("redis://:secret@redis:6379/1")
    assert broker.url == "redis://:secret@redis:6379/1"
    assert broker.queue_arguments == {}
    assert "confirm_publish" not in broker.transport_options


def test_each_sentinel_is_given_with_all_it_takes_to_be_the_first_that_is_asked() -> None:
    broker = broker_for(
        "redis+sentinel://:p%40ss@first:26380,[::1]/tickets/3?sentinel_password=dog"
    )
    assert broker.url == "sentinel://:p%40ss@first:26380/3;sentinel://:p%40ss@[::1]:26379/3"
    assert broker.transport_options["master_name"] == "tickets"
    asking = broker.transport_options["sentinel_kwargs"]
    assert asking["password"] == "dog"
    assert asking["socket_timeout"] == REDIS_TIMEOUT_SECONDS


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("", {"ssl_cert_reqs": "required"}),
        ("?ssl_cert_reqs=none", {"ssl_cert_reqs": "none"}),
        (
            "?db=1&ssl_ca_certs=/ca.pem&ssl_check_hostname=no&ssl_min_version=772",
            {
                "ssl_cert_reqs": "required",
                "ssl_ca_certs": "/ca.pem",
                "ssl_check_hostname": False,
                "ssl_min_version": 772,
            },
        ),
    ],
)
def test_a_certificate_is_required_unless_the_url_disables_it(
    query: str, tls: dict[str, object]
) -> None:
    broker = broker_for(f"rediss://:p%40ss@redis/1{query}")
    assert (broker.url, broker.tls) == ("rediss://:p%40ss@redis:6379/1", tls)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix://:secret@/run/redis.sock?db=2", ":secret@/run/redis.sock?virtual_host=2"),
        (
            "unix:///run/a%20b.sock?db=1&username=ada&password=p%40ss&protocol=3",
            "ada:p%40ss@/run/a%20b.sock?virtual_host=1",
        ),
    ],
)
def test_a_socket_is_named_as_kombu_reads_it(url: str, expected: str) -> None:
    assert broker_for(url).url == f"redis+socket://{expected}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis/0",
        "rediss://redis/0",
        "unix:///run/redis.sock",
        "redis://redis?db=2&protocol=3&health_check_interval=30",
        "rediss://redis?db=2&ssl_cert_reqs=none&socket_timeout=1",
        "unix:///run/redis.sock?db=1&password=secret&protocol=3",
        "redis+sentinel://first,second/tickets",
        "amqp://ada:secret@rabbit//",
        "amqps://rabbit",
        "amqp://ada:secret@first//;amqp://ada:secret@second//",
    ],
)
def test_celery_can_be_made_for_each_kind(url: str) -> None:
    check_broker_url(url)
    settings = Settings(database_url="postgresql://db/x", broker_url=url)
    with make_celery(settings) as celery, celery.connection_for_write() as connection:
        assert connection.transport_cls


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:p%40ss@redis:6380/2",
        "redis://redis:6380/1?db=2&username=ada&password=p%40ss&protocol=3&max_connections=9",
        "redis://ada:p%40ss@[::1]:6380?db=2&password=other",
        "rediss://redis:6380?db=2&username=ada&password=p%40ss&ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock?db=2&username=ada&password=p%40ss",
    ],
)
def test_wakeups_are_sent_where_results_are_read(url: str) -> None:
    settings = Settings(database_url="postgresql://db/x", redis_url=url)
    ours = Redis.from_url(url).connection_pool.connection_kwargs
    names = {"host", "port", "path", "username", "password", "db", "ssl_ca_certs"}
    with make_celery(settings) as celery, celery.connection_for_write() as connection:
        channel = object.__new__(connection.transport.Channel)  # its constructor connects
        channel.connection = SimpleNamespace(client=connection, default_port=6379)
        theirs = channel._connparams()
    assert {n: theirs[n] for n in names & ours.keys()} == {n: ours[n] for n in names & ours.keys()}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+cluster://:secret@redis:6379", "Redis Cluster"),
        ("sqs://ada:secret@", "must be an amqp://"),
        ("sentinel://:secret@first:26379", r"redis\+sentinel://"),
        ("redis+sentinel://:secret@first", r"redis\+sentinel://"),
    ],
)
def test_an_unsupported_broker_is_an_error_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        check_broker_url(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("named", "is_let_in"), [("127.0.0.1", True), ("localhost", False)])
def test_rabbitmqs_certificate_has_to_be_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, is_let_in: bool
) -> None:
    certificate = self_signed(tmp_path)  # of 127.0.0.1
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    hellos: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):  # until it is shut down
            while True:
                plain, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                    hellos.append(client.recv(8))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve, listener)
        url = f"amqps://ada:secret@{named}:{listener.getsockname()[1]}//"
        settings = Settings(database_url="postgresql://db/x", broker_url=url)
        with (
            make_celery(settings) as celery,
            celery.connection_for_write() as connection,
            pytest.raises(OSError) as refused,
        ):
            connection.connect()
        listener.shutdown(socket.SHUT_RDWR)
        serving.result()
    assert isinstance(refused.value, ssl.SSLCertVerificationError) != is_let_in
    assert set(hellos) == ({b"AMQP\0\0\x09\x01"} if is_let_in else set())
