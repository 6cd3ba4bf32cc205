"""A sweeper or sender that exits at each start is not ready; a PostgreSQL at work is waited for."""

import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import readiness
from deploy.local.home import Home
from deploy.local.readiness import StartDeadline, _without_heartbeat, wait_for_database
from deploy.local.supervisor.client import Process
from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.observability.heartbeat import Heartbeat


def test_a_process_without_a_heartbeat_of_its_own_is_named(tmp_path: Path) -> None:
    directory = str(tmp_path / "beats")
    settings = Settings(database_url="postgresql:///x", heartbeat_dir=directory)
    processes = [
        Process("gateway-1", "running", 4, 0),
        Process("sender-1", "running", os.getpid(), 0),
        Process("sweeper-1", "running", os.getpid(), 0),
        Process("worker-1", "running", 5, 0),
    ]
    assert _without_heartbeat(processes, settings) == ["sender-1", "sweeper-1"]
    beating = Heartbeat(directory, "sender")
    beating.beat(60)
    assert _without_heartbeat(processes, settings) == ["sweeper-1"]
    beating.close()
    assert _without_heartbeat(processes, settings) == ["sender-1", "sweeper-1"]


@pytest.mark.parametrize(
    "answer",
    [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is in recovery mode",
    ],
)
def test_a_postgresql_that_replays_its_log_is_waited_for_until_a_stop_is_requested(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "REPLAY_SHOWN_SECONDS", 0.1)
    said: list[str] = []
    stop_at = time.monotonic() + 1
    deadline = StartDeadline(0.2, lambda: time.monotonic() > stop_at)
    with answering("57P03", answer) as url, pytest.raises(ConfigurationError, match="Interrupted"):
        wait_for_database(url, Home(tmp_path), deadline, said.append)
    (line,) = said
    assert "is replaying its log" in line


def test_another_failure_of_postgresql_is_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    deadline = StartDeadline(0.2, lambda: False)
    with (
        answering("53300", "sorry, too many clients already") as url,
        pytest.raises(ConfigurationError, match="Not ready after"),
    ):
        wait_for_database(url, Home(tmp_path), deadline, said.append)
    assert said == []


@contextmanager
def answering(code: str, message: str) -> Iterator[str]:
    """The URL of a PostgreSQL that refuses each connection with this error."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()

    class Refusal(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)  # the startup message
            self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield (
                f"postgresql://postgres@127.0.0.1:{server.server_address[1]}/eventify"
                "?sslmode=disable&gssencmode=disable"
            )
        finally:
            server.shutdown()
