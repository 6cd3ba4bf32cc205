"""A whole Eventify of the benchmark's own, brought up and taken down by the operator's command."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from sqlalchemy import Engine, text

from loadtests.bench.system.ports import free_port
from loadtests.bench.system.processes import cpu_seconds
from loadtests.eventify_command import eventify
from shared.config.settings import Settings
from shared.database.engine import open_engine

# Few users buy and wait without end here, which the limits of each user are there to prevent.
SETTINGS = {
    "EVENTIFY_PURCHASE_RATE_BURST": "0",
    "EVENTIFY_WAITING_MAX_ROWS_OF_USER": "20000",
}
# The slowest is a queue of a hundred thousand, at a tenth of the usual pace.
DECIDED_SECONDS = 120.0
DECISIONS = "SELECT coalesce(sum(decisions), 0)::bigint FROM ticket_inventory"
# Each look costs PostgreSQL and this process a millisecond together, of what is measured.
LOOK_SECONDS = 0.02


class BenchSystem:
    """A running system: its addresses, its processes, its database."""

    def __init__(self, environment: dict[str, str], home: Path) -> None:
        self._environment = environment
        self.is_up = True
        status = json.loads(self.command("status", "--json"))
        self.port = int(status["gateway_url"].rpartition(":")[2])
        self.settings = Settings(
            database_url=status["database_url"],
            redis_url=status["redis_url"],
            keys_dir=home / "keys",
        )
        self.engine: Engine = open_engine(self.settings, "bench")
        self.pids: dict[str, int] = {p["name"]: p["pid"] for p in status["processes"]}

    def command(self, *arguments: str) -> str:
        """What `eventify ARGUMENTS` prints.

        Raises:
            RuntimeError: it failed, with what it said.
        """
        return eventify(*arguments, environment=self._environment)

    def take_down(self) -> None:
        """Stop all of it."""
        self.engine.dispose()
        self.command("down")
        self.is_up = False

    def check(self) -> list[str]:
        """What speaks against the measurement: a promise broken, or a process that ended."""
        with ThreadPoolExecutor(1) as threads:
            audit = threads.submit(self.command, "audit")
            processes = json.loads(self.command("status", "--json"))["processes"]
        told = [f"{p['name']} ended and was started again" for p in processes if p["restarts"]]
        return told if audit.exception() is None else [*told, str(audit.exception())]

    def cpu_seconds(self) -> float:
        """CPU time that all of it has taken so far."""
        return cpu_seconds(self.pids.values())

    def gateway_cpu_seconds(self) -> float:
        """CPU time that the gateways have taken so far."""
        return cpu_seconds(pid for name, pid in self.pids.items() if name.startswith("gateway-"))

    def decisions(self) -> int:
        """How many decisions stand in the database."""
        with self.engine.connect() as connection:
            decided: int = connection.execute(text(DECISIONS)).scalar_one()
        return decided

    def wait_for_decisions(self, count: int) -> None:
        """Until so many decisions stand in the database.

        Raises:
            TimeoutError: they do not come.
        """
        deadline = time.monotonic() + DECIDED_SECONDS
        while (decided := self.decisions()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count - decided:,} purchases are still not decided.")
            time.sleep(LOOK_SECONDS)

    def nobody_deciding(self) -> AbstractContextManager[None]:
        """Workers and sweeper stand still in the block; to be called when nothing is queued."""
        return _standing_still(
            pid for name, pid in self.pids.items() if name.startswith(("worker-", "sweeper-"))
        )

    def standing_still(self) -> AbstractContextManager[None]:
        """All of it stands still in the block, and takes nothing from what else is measured."""
        return _standing_still(self.pids.values())


@contextmanager
def _standing_still(pids: Iterable[int]) -> Iterator[None]:
    with ExitStack() as resuming:
        for pid in pids:
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                process.suspend()
                resuming.callback(process.resume)
        yield


@contextmanager
def own_systems(count: int) -> Iterator[list[BenchSystem]]:
    """So many new systems with nothing in them, until the block ends; then all is gone.

    Raises:
        RuntimeError: one does not start, with the reason.
    """
    # The threads are waited for before the stack is undone: nothing is left half started.
    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
        starting = [threads.submit(stack.enter_context, _own_system()) for _ in range(count)]
        systems = [system.result() for system in starting]
        yield systems
        # The stack would take them down one after the other.
        list(threads.map(BenchSystem.take_down, systems))


@contextmanager
def _own_system() -> Iterator[BenchSystem]:
    with TemporaryDirectory(prefix="eventify-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        others = {name: value for name, value in os.environ.items() if "EVENTIFY_" not in name}
        environment = others | SETTINGS | {"EVENTIFY_HOME": str(home)}
        system = None
        try:
            eventify("up", "--detach", "--port", str(free_port()), environment=environment)
            system = BenchSystem(environment, home)
            yield system
        finally:
            if system is None or system.is_up:
                eventify("down", environment=environment)
