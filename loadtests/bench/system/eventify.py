"""A whole Eventify of the benchmark's own, brought up and taken down by the operator's command."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from loadtests.bench.report.figures import Figure
from loadtests.bench.system.processes import cpu_seconds, private_mib
from loadtests.eventify_command import eventify, temporary_system
from shared.config.settings import Settings
from shared.database.engine import open_engine

# A few users buy and wait without end here, which the limits of each user prevent; receivers of
# webhooks are of this machine.
SETTINGS = {
    "EVENTIFY_WEBHOOK_ALLOW_HTTP": "true",
    "EVENTIFY_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "EVENTIFY_PURCHASE_RATE_BURST": "0",
    "EVENTIFY_WAITING_MAX_ROWS_OF_USER": "20000",
}
# The slowest is a queue of a hundred thousand, at a tenth of the usual pace.
DECIDED_SECONDS = 120.0
DECISIONS = "SELECT coalesce(sum(number), 0)::bigint FROM lanes"
# Each query costs PostgreSQL and this process a millisecond together, of what is measured.
POLL_SECONDS = 0.02


class BenchSystem:
    """A running system: its addresses, its processes, its database."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        status = json.loads(self.command("status", "--json"))
        self.home = Path(environment["EVENTIFY_HOME"])
        self.port = int(status["gateway_url"].rpartition(":")[2])
        self.settings = Settings(
            database_url=status["database_url"],
            redis_url=status["redis_url"],
            keys_dir=self.home / "keys",
        )
        self.engine: Engine = open_engine(self.settings, "bench")
        self.pids: dict[str, int] = {p["name"]: p["pid"] for p in status["processes"]}

    def command(self, *arguments: str) -> str:
        return eventify(*arguments, environment=self.environment)

    def take_down(self) -> None:
        self.engine.dispose()
        self.command("down")  # which may be repeated

    def check(self) -> list[str]:
        """Reasons not to trust the measurement: a broken promise, or a process that ended."""
        with ThreadPoolExecutor(1) as threads:
            audit = threads.submit(self.command, "audit")
            processes = json.loads(self.command("status", "--json"))["processes"]
        errors = [f"{p['name']} ended and was started again" for p in processes if p["restarts"]]
        return errors if audit.exception() is None else [*errors, str(audit.exception())]

    def create_database(self, name: str, template: str = "template1") -> Settings:
        """A database beside the system's own, whose sweeper leaves it alone; its settings."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        url = self.engine.url.set(drivername="postgresql", database=name)
        update = {"database_url": url.render_as_string(hide_password=False)}
        return self.settings.model_copy(update=update)

    def memory(self, when: str) -> list[Figure]:
        """A figure for each process with its children; what several share is counted in parts."""
        return [
            Figure(
                name=f"memory_of_{name}_{when}_mib".replace(" ", "_").replace("-", "_"),
                label=f"memory of {name}, {when}",
                unit="MiB",
                values=[private_mib([pid])],
            )
            for name, pid in self.pids.items()
        ]

    def cpu_of_services(self) -> dict[str, float]:
        """CPU seconds that each service (its name without the number) has taken so far."""
        total: dict[str, float] = defaultdict(float)
        for name, pid in self.pids.items():
            total[name.partition("-")[0]] += cpu_seconds([pid])
        return dict(total)

    def decisions(self) -> int:
        with self.engine.connect() as connection:
            decided: int = connection.execute(text(DECISIONS)).scalar_one()
        return decided

    def wait_for_decisions(self, count: int) -> None:
        """Until this many decisions are in the database.

        Raises:
            TimeoutError: they do not come.
        """
        deadline = time.monotonic() + DECIDED_SECONDS
        while (decided := self.decisions()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count - decided:,} purchases are still not decided.")
            time.sleep(POLL_SECONDS)

    def deciding_suspended(self) -> AbstractContextManager[None]:
        """Suspends workers and sweeper in the block; to be called when nothing is queued."""
        return _suspended(
            pid for name, pid in self.pids.items() if name.startswith(("worker-", "sweeper-"))
        )

    def suspended(self) -> AbstractContextManager[None]:
        """Suspends all of it in the block, so that it takes no CPU from another measurement."""
        return _suspended(self.pids.values())


@contextmanager
def _suspended(pids: Iterable[int]) -> Iterator[None]:
    with ExitStack() as resuming:
        for pid in pids:
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                process.suspend()
                resuming.callback(process.resume)
        yield


@contextmanager
def own_systems(count: int, **settings: str) -> Iterator[list[BenchSystem]]:
    """New systems with nothing in them, until the block ends; `settings` beside the usual ones.

    Raises:
        RuntimeError: one does not start, with the reason.
    """
    # The threads are waited for before the stack is undone: nothing is left half started.
    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
        starting = [
            threads.submit(stack.enter_context, _own_system(settings)) for _ in range(count)
        ]
        systems = [system.result() for system in starting]
        yield systems
        # The stack would take them down one after the other.
        list(threads.map(BenchSystem.take_down, systems))


@contextmanager
def _own_system(settings: dict[str, str]) -> Iterator[BenchSystem]:
    with temporary_system("bench", **SETTINGS | settings) as environment:
        yield BenchSystem(environment)
