"""`python -m purchase_worker.health`: which processes are healthy, and which are not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from purchase_worker.health import problems
from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.messaging.celery_client import DECIDE_QUEUES_TASK, PURCHASES_QUEUE, make_celery
from shared.observability.heartbeat import Beat, Heartbeat, last_beats
from tests.chaos.faults.network import CUT
from tests.integration.deploy.test_stopping import LONG_TIMEOUTS, table_locked
from tests.support.factories import (
    add_ticket_type,
    add_users,
    event_of,
    nothing_is_queued,
    queue,
    request,
)
from tests.support.line import FAIR, Line, Weather, carrying
from tests.support.services import PROJECT, running_service
from tests.support.waiting import eventually

# On a busy machine, too.
STARTED_WITHIN_SECONDS = 60
SILENT = Weather(there=False)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A stalled consumer is found within seconds."""
    return settings.model_copy(
        update={
            "heartbeat_dir": str(tmp_path / "heartbeats"),
            "heartbeat_stale_seconds": 10.0,
            "self_check_seconds": 0.2,
            "consumer_stalled_after_seconds": 1.0,
        }
    )


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """A process that stands still is found within seconds."""
    return settings.model_copy(update={"heartbeat_stale_seconds": 1.5, "sweep_stale_seconds": 1.5})


def health(settings: Settings, role: str) -> tuple[int, str]:
    """Exit code and sentence of the command."""
    ran = subprocess.run(
        [sys.executable, "-m", "purchase_worker.health", role],
        cwd=PROJECT,
        env=os.environ | {"EVENTIFY_HEARTBEAT_DIR": settings.heartbeat_dir},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ran.stderr
    return ran.returncode, ran.stdout


def is_healthy(settings: Settings, role: str) -> Callable[[], None]:
    def check() -> None:
        code, sentence = health(settings, role)
        assert code == 0, sentence
        assert "is healthy" in sentence

    return check


def is_unhealthy(settings: Settings, role: str, why: str) -> Callable[[], None]:
    def check() -> None:
        code, sentence = health(settings, role)
        assert code == 1
        assert why in sentence

    return check


def the_beat(settings: Settings, role: str) -> Beat:
    (beat,) = last_beats(Path(settings.heartbeat_dir), role)
    return beat


def stays_healthy(settings: Settings, role: str, seconds: float) -> None:
    """It sends heartbeats without a problem for this long."""
    began = the_beat(settings, role).beat_at

    def beats_later() -> None:
        beat = the_beat(settings, role)
        if problems([beat], time.monotonic()):
            pytest.fail(f"not healthy: {beat}")
        assert beat.beat_at > began + seconds

    eventually(beats_later, within_seconds=30)


def test_a_worker_that_stands_still_is_unhealthy_until_it_goes_on(
    settings: Settings, impatient: Settings, redis_client: redis.Redis
) -> None:
    with running_service("purchase_worker", impatient) as worker:
        eventually(is_healthy(settings, "worker"), within_seconds=STARTED_WITHIN_SECONDS)
        worker.send_signal(signal.SIGSTOP)
        eventually(is_unhealthy(settings, "worker", f"worker-{worker.pid} sent no heartbeat for"))
        worker.send_signal(signal.SIGCONT)
        eventually(is_healthy(settings, "worker"))
    assert health(settings, "worker") == (
        1,
        f"No heartbeat from any worker in {settings.heartbeat_dir}.\n",
    )


def test_a_worker_that_is_connected_and_receives_no_message_is_unhealthy(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with running_service("tests.support.stalled_worker", settings) as worker:
        eventually(is_healthy(settings, "worker"), within_seconds=STARTED_WITHIN_SECONDS)
        worker.send_signal(signal.SIGUSR1)
        eventually(is_unhealthy(settings, "worker", "takes no message"))


def test_a_worker_whose_children_are_all_blocked_is_healthy(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    """Its prefetch limit is reached, so it receives nothing: a new worker would not either."""
    patient = settings.model_copy(update=LONG_TIMEOUTS)
    ticket_types = [add_ticket_type(engine, 3) for _ in range(8)]
    events = [event_of(engine, id_) for id_ in ticket_types]
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, id_) for id_ in ticket_types])
    with running_service("purchase_worker", patient):
        eventually(is_healthy(settings, "worker"), within_seconds=STARTED_WITHIN_SECONDS)
        with table_locked(engine, "ledger"), make_celery(settings) as sender:
            for id_ in events:
                sender.send_task(DECIDE_QUEUES_TASK, ([id_],), queue=PURCHASES_QUEUE)
            stays_healthy(settings, "worker", 2)
            assert redis_client.llen(PURCHASES_QUEUE), "nothing waited"
        eventually(lambda: nothing_is_queued(engine))


def test_a_worker_whose_broker_is_unavailable_or_silent_is_healthy(
    settings: Settings, valkey_url: str, redis_client: redis.Redis
) -> None:
    url = make_url(valkey_url)
    assert url.port is not None
    line = Line(url.port)
    with carrying(line):
        far = settings.model_copy(update={"redis_url": line.through(valkey_url)})
        with running_service("purchase_worker", far):
            eventually(is_healthy(settings, "worker"), within_seconds=STARTED_WITHIN_SECONDS)
            for weather in (CUT, SILENT):
                line.set_weather(weather)
                stays_healthy(far, "worker", 2)
            line.set_weather(FAIR)
            # What was in the broker may be gone as well.
            redis_client.flushall()
            stays_healthy(far, "worker", 2)


def test_a_sweeper_without_its_database_is_healthy_and_one_that_stands_still_is_not(
    settings: Settings, impatient: Settings
) -> None:
    away = impatient.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    with running_service("purchase_worker.sweep", away) as sweeper:
        eventually(is_healthy(settings, "sweeper"), within_seconds=STARTED_WITHIN_SECONDS)
        stays_healthy(settings, "sweeper", 2)
        sweeper.send_signal(signal.SIGSTOP)
        eventually(is_unhealthy(settings, "sweeper", "sent no heartbeat"))
        sweeper.send_signal(signal.SIGCONT)


def test_of_several_in_one_folder_each_has_to_be_healthy_and_the_dead_do_not_count(
    settings: Settings, impatient: Settings
) -> None:
    with (
        running_service("purchase_worker.sweep", impatient) as killed,
        running_service("purchase_worker.sweep", impatient) as stopped,
        running_service("purchase_worker.sweep", settings) as left,
    ):

        def all_beat() -> None:
            assert len(list(last_beats(Path(settings.heartbeat_dir), "sweeper"))) == 3

        eventually(all_beat, within_seconds=STARTED_WITHIN_SECONDS)
        killed.kill()
        stopped.send_signal(signal.SIGSTOP)
        eventually(is_unhealthy(settings, "sweeper", f"sweeper-{stopped.pid} sent no heartbeat"))
        assert str(left.pid) not in health(settings, "sweeper")[1]
        assert str(killed.pid) not in health(settings, "sweeper")[1]
        stopped.send_signal(signal.SIGCONT)
        eventually(is_healthy(settings, "sweeper"))


def test_the_command_loads_none_of_the_libraries_of_the_services() -> None:
    """It runs every few seconds beside those who sell: 0.03 s of CPU."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import purchase_worker.health, sys; print(*sys.modules)"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"celery", "kombu", "pydantic", "sqlalchemy", "structlog", "asyncio"} & {*loaded}


def test_a_folder_that_cannot_be_written_is_an_error_in_one_sentence(settings: Settings) -> None:
    Path(settings.heartbeat_dir).touch()
    with pytest.raises(ConfigurationError, match="EVENTIFY_HEARTBEAT_DIR"):
        Heartbeat(settings.heartbeat_dir, "worker")


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def of_another_user(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65_534, 65_534)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (open_to_all, "other users may write to it"),
        (a_link, "it is not a directory"),
        pytest.param(
            of_another_user,
            "it belongs to the user 65534",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away"),
        ),
    ],
)
@pytest.mark.parametrize("by_setting", [True, False])
def test_a_heartbeat_directory_of_others_is_neither_written_nor_read(
    make: Callable[[Path], None],
    reason: str,
    by_setting: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / f"eventify-{os.getuid()}"
    make(folder)
    setting = str(folder) if by_setting else ""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(ConfigurationError, match=reason):
        Heartbeat(setting, "worker")
    ran = subprocess.run(
        [sys.executable, "-m", "purchase_worker.health", "worker"],
        cwd=PROJECT,
        env=os.environ | {"EVENTIFY_HEARTBEAT_DIR": setting},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert reason in ran.stdout
