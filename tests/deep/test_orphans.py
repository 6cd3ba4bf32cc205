"""What tests start ends with them, whatever ended them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.orphans import started_from
from tests.support.processes import killed_at_last
from tests.support.services import PROJECT
from tests.support.waiting import eventually

# As a worker of pytest-xdist does: servers, and a service in the foreground.
STARTS_SERVERS = """
import subprocess, sys, time
from deploy.local.servers.embedded import prepare_postgres, prepare_valkey
from shared.free_port import free_port
from shared.process import restore_stop_signals
from tests.support.orphans import watched_folder
from tests.support.services import folder_for_servers
from tests.support.servers import Server, running

restore_stop_signals()
with folder_for_servers() as folder, running(prepare_valkey(folder, free_port())):
    Server(prepare_postgres(folder / "database", free_port())).start()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(watched_folder(), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_the_tests_that_started_them(number: signal.Signals) -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", STARTS_SERVERS], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    with killed_at_last(started) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        names = {process.name() for process in started_from(folder)}
        assert {"postgres", "valkey-server"} < names
        tests.send_signal(number)
        tests.wait(60)

    def all_gone() -> None:
        assert started_from(folder) == set()
        assert not folder.exists()

    eventually(all_gone, within_seconds=60)
