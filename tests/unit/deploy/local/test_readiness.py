"""A sweeper or sender that exits at each start is not ready."""

import os
from pathlib import Path

from deploy.local.readiness import _without_heartbeat
from deploy.local.supervisor.client import Process
from shared.config.settings import Settings
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
