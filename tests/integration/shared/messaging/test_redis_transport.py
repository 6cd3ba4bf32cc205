"""Wake-ups that wait in Redis, and those that a worker has received and not handled."""

import json
from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from kombu import Message, Queue
from kombu.transport.virtual import Channel
from sqlalchemy.engine import make_url

from shared.config.settings import Settings
from shared.messaging import redis_transport
from shared.messaging.celery_client import PURCHASES_QUEUE, make_celery, send_wakeup
from tests.chaos.faults.network import CUT
from tests.support.line import Line, carrying


@pytest.fixture
def line(valkey_url: str) -> Iterator[Line]:
    port = make_url(valkey_url).port
    assert port is not None
    line = Line(port)
    with carrying(line):
        yield line


@pytest.fixture
def worker(settings: Settings, valkey_url: str, line: Line) -> Iterator[Celery]:
    through_line = {"redis_url": line.through(valkey_url)}
    with make_celery(settings.model_copy(update=through_line)) as worker:
        yield worker


def receive(worker: Celery, channel: Channel) -> Message:
    send_wakeup(worker, [7])
    message = Queue(PURCHASES_QUEUE, channel=channel).get()
    assert message is not None
    return message


def test_while_no_worker_runs_the_newest_wakeups_are_kept(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_transport, "WAKEUPS_MAX", 3)
    with make_celery(settings) as gateway:
        for event in range(5):
            send_wakeup(gateway, [event])
    newest, *_ = kept = redis_client.lrange(PURCHASES_QUEUE, 0, -1)
    assert len(kept) == 3
    assert json.loads(newest)["headers"]["argsrepr"] == "([4],)"


def test_a_wakeup_is_acknowledged_without_a_connection(
    worker: Celery, line: Line, redis_client: redis.Redis
) -> None:
    """Else it would count against the prefetch limit for as long as the worker runs."""
    with worker.connection_for_read() as connection:
        channel = connection.default_channel
        channel.basic_qos(0, 1, False)
        message = receive(worker, channel)
        assert not channel.qos.can_consume()
        line.set_weather(CUT)
        message.ack()
        assert channel.qos.can_consume()


def test_a_worker_that_stops_returns_what_it_has_not_begun(
    worker: Celery, redis_client: redis.Redis
) -> None:
    with worker.connection_for_read() as connection:
        receive(worker, connection.default_channel)
        assert redis_client.llen(PURCHASES_QUEUE) == 0
    assert redis_client.llen(PURCHASES_QUEUE) == 1


def test_what_cannot_be_returned_is_given_up_at_once(
    worker: Celery, line: Line, redis_client: redis.Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    with worker.connection_for_read() as connection:
        for _ in range(2):
            receive(worker, connection.default_channel)
        line.set_weather(CUT)
    printed = capfd.readouterr()
    assert (printed.out + printed.err).count("wakeup_not_sent") == 1
    assert "EMERGENCY" not in printed.err
