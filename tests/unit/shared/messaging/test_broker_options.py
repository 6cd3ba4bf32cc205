"""Celery's options for each kind of broker."""

import pytest

from shared.config.broker_url import check_broker_url
from shared.config.settings import Settings
from shared.messaging.broker_options import REDIS_TIMEOUT_SECONDS, broker_for
from shared.messaging.celery_client import make_celery

VISIBILITY_SECONDS = 60


def test_rabbitmq_confirms_wakeups_and_keeps_them_in_a_bounded_quorum_queue() -> None:
    broker = broker_for("amqp://ada:secret@rabbit:5672/tickets", VISIBILITY_SECONDS)
    assert broker.url == "amqp://ada:secret@rabbit:5672/tickets"
    assert broker.transport_options["confirm_publish"] is True
    assert broker.queue_arguments["x-queue-type"] == "quorum"
    assert broker.queue_arguments.keys() >= {"x-max-length", "x-message-ttl"}


def test_a_redis_gets_no_options_of_rabbitmq() -> None:
    broker = broker_for("redis://:secret@redis:6379/1", VISIBILITY_SECONDS)
    assert broker.url == "redis://:secret@redis:6379/1"
    assert broker.queue_arguments == {}
    assert broker.transport_options["visibility_timeout"] == VISIBILITY_SECONDS
    assert "confirm_publish" not in broker.transport_options


def test_each_sentinel_is_given_with_all_it_takes_to_be_the_first_that_is_asked() -> None:
    broker = broker_for(
        "redis+sentinel://:p%40ss@first:26380,[::1]/tickets/3?sentinel_password=dog",
        VISIBILITY_SECONDS,
    )
    assert broker.url == "sentinel://:p%40ss@first:26380/3;sentinel://:p%40ss@[::1]:26379/3"
    assert broker.transport_options["master_name"] == "tickets"
    asking = broker.transport_options["sentinel_kwargs"]
    assert asking["password"] == "dog"
    assert asking["socket_timeout"] == REDIS_TIMEOUT_SECONDS


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rediss://:p%40ss@redis/1", "required"),
        ("rediss://:p%40ss@redis/1?ssl_cert_reqs=none", "none"),
    ],
)
def test_a_certificate_is_required_unless_the_url_disables_it(url: str, expected: str) -> None:
    broker = broker_for(url, VISIBILITY_SECONDS)
    assert broker.url == f"rediss://:p%40ss@redis/1?ssl_cert_reqs={expected}"


def test_a_socket_is_named_as_kombu_reads_it() -> None:
    broker = broker_for("unix://:secret@/run/redis.sock?db=2", VISIBILITY_SECONDS)
    assert broker.url == "redis+socket://:secret@/run/redis.sock?virtual_host=2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis/0",
        "rediss://redis/0",
        "unix:///run/redis.sock",
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
