"""An operator: runs the `eventify` command in a home of their own."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psutil

from deploy.local.supervisor import supervision
from shared.config.settings import PREFIX
from shared.free_port import free_port
from shared.process import SUPERVISED_IN
from tests.support.command import eventify
from tests.support.services import folder_for_servers

PROJECT = Path(__file__).parent.parent.parent
# A machine that is busy with other tests may need longer than a client should wait.
ANSWER_TIMEOUT_SECONDS = "10"
FORKING = "tests.support.forking_supervisor"
# What runs after `up --gateways 2`.
WITH_TWO_GATEWAYS = {
    *("postgres", "valkey", "catalog-1", "worker-1", "sweeper-1", "sender-1"),
    *("gateway-1", "gateway-2"),
}


class Operator:
    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("EVENTIFY_")
        } | {"EVENTIFY_HOME": str(home), "EVENTIFY_ANSWER_TIMEOUT_SECONDS": ANSWER_TIMEOUT_SECONDS}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from deploy.cli.main import main; main()", *arguments]

    def call(self, *arguments: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command within this process."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX)}.items()
        own = dict(self.environment.items() - inherited)
        return eventify(*arguments, **own | more_environment)

    def run(self, *arguments: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process."""
        return subprocess.run(
            self.command(*arguments),
            cwd=PROJECT,
            env=self.environment | more_environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def start_in_foreground(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("up", "--port", str(self.port)),
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self, *arguments: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--detach", "--port", str(self.port), *arguments, **more_environment)

    def start(self, *arguments: str, forks: bool = True, **more_environment: str) -> None:
        """`up`, within this process: most of what it imports is here already.

        Args:
            forks: whether services are forks of a supervisor that has imported them, which takes
                half of the CPU (`tests/support/forking_supervisor.py`).
        """
        if forks:
            more_environment["PYTHONPATH"] = str(PROJECT)
        with (
            warnings.catch_warnings(),
            patch.object(supervision, "SUPERVISOR", FORKING if forks else supervision.SUPERVISOR),
        ):
            # The supervisor outlives the command, as it should.
            warnings.simplefilter("ignore", ResourceWarning)
            started = self.call(
                *("up", "--detach", "--port", str(self.port), *arguments), **more_environment
            )
        assert started.returncode == 0, started.stdout + started.stderr

    def status(self) -> dict[str, Any]:
        answer = self.call("status", "--json")
        report: dict[str, Any] = json.loads(answer.stdout)
        expected = 0 if report.get("supervised") else 2 if report["running"] else 1
        if expected == 0 and any(each["state"] != "running" for each in report["processes"]):
            expected = 3
        assert answer.returncode == expected
        return report

    def is_ready(self) -> None:
        assert httpx.get(f"{self.url}/readyz").status_code == 200

    def processes(self) -> dict[str, dict[str, Any]]:
        return {process["name"]: process for process in self.status()["processes"]}

    def stop(self) -> None:
        """`eventify down`, which leaves nothing."""
        stopped = self.call("down")
        assert (stopped.returncode, stopped.stdout) == (0, "Eventify is stopped.\n")
        assert self.living() == []
        assert self.status() == {"running": False}

    def kill_supervisor(self) -> None:
        state = json.loads((self.home / "state.json").read_text())
        supervisor = psutil.Process(state["supervisor_pid"])
        supervisor.kill()
        psutil.wait_procs([supervisor])

    def living(self) -> list[psutil.Process]:
        """Every process of this home, as the operating system lists them."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            # PostgreSQL and Valkey overwrite their environment, and stand in their data folders.
            marked_with = process.environ().get(SUPERVISED_IN)
            return marked_with == str(self.home) or process.cwd().startswith(f"{self.home}/")
        except (psutil.Error, OSError):
            return False


@contextmanager
def an_operator() -> Iterator[Operator]:
    """Whose system is stopped in the end, and whose home is gone."""
    with folder_for_servers() as folder:
        # Too deep for a socket's path, and with what quoting has to survive.
        operator = Operator(folder / "a b #c %d ;e" / ("deep" * 20) / "home", free_port())
        try:
            yield operator
        finally:
            if operator.home.exists():
                operator.call("down")
