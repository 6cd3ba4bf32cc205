"""Waits until a started system responds."""

import http.client
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg2
from sqlalchemy.engine import make_url

from deploy.local.home import Home
from deploy.local.supervisor.client import Process, SupervisorClient, SupervisorUnavailableError
from shared.config.database_url import CLIENT_ENCODING
from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.observability.heartbeat import heartbeat_directory, last_beats

T = TypeVar("T")

# Three times what the first start takes on a slow machine.
READY_SECONDS = 60.0
# What PostgreSQL answers while it starts (SQLSTATE 57P03, which psycopg2 does not pass on here),
# with messages in English as `LOCALE` of the embedded server makes them. After a crash it replays
# its log, for minutes where that is long; stopped then, it would have to begin again.
STARTING = (
    "the database system is starting up",
    "the database system is not yet accepting connections",
    "the database system is in recovery mode",
)
# After a clean stop it answers that for less.
REPLAY_SHOWN_SECONDS = 2.0
LOG_TAIL_LINES = 12
# By the names of their heartbeats, which need nothing but the database.
BEATING = ("sweeper", "sender")


class StartDeadline:
    """Ends a start that takes too long, or that the operator interrupts.

    Args:
        seconds: for the whole start, migrations apart.
        stop_requested: polled, since a signal that raises could hit the moment between the
            supervisor's start and its record, and leave it running.
    """

    def __init__(self, seconds: float, stop_requested: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._stop_requested = stop_requested

    def extend(self) -> None:
        """Begin anew: what is waited for is at work, and may take as long as it needs."""
        self._ends_at = time.monotonic() + self._seconds

    def wait_until(self, ready: Callable[[], T | None], or_explain: Callable[[], str]) -> T:
        """Poll until the answer is true.

        Raises:
            ConfigurationError: after the deadline, with the explanation; or a stop was requested.
        """
        while not (answer := ready()):
            if self._stop_requested():
                raise ConfigurationError("Interrupted; everything was stopped again.")
            if time.monotonic() > self._ends_at:
                raise ConfigurationError(f"Not ready after {self._seconds:.0f} s: {or_explain()}")
            time.sleep(0.05)
        return answer


def wait_for_supervisor(
    supervisor: subprocess.Popen[bytes],
    client: SupervisorClient,
    home: Home,
    deadline: StartDeadline,
) -> None:
    """
    Raises:
        ConfigurationError: it exited, or does not answer in time.
    """
    output = home.logs / "supervisord.out"

    def answers() -> bool:
        if supervisor.poll() is not None:
            raise ConfigurationError(f"The supervisor did not start.{_tail(output)}")
        try:
            client.processes()
        except SupervisorUnavailableError:
            return False
        return True

    deadline.wait_until(answers, lambda: f"the supervisor.{_tail(output)}")


def wait_for_database(
    database_url: str, home: Home, deadline: StartDeadline, say: Callable[[str], None]
) -> None:
    """Wait for the embedded PostgreSQL; create its database where it is missing.

    The deadline does not pass while PostgreSQL answers that it is starting.
    """
    url = make_url(database_url)
    server_url = url.set(database="postgres").render_as_string(hide_password=False)
    log = home.logs / "postgres.log"
    shown_at = time.monotonic() + REPLAY_SHOWN_SECONDS

    def connected() -> psycopg2.extensions.connection | None:
        nonlocal shown_at
        try:
            return psycopg2.connect(server_url, connect_timeout=2, client_encoding=CLIENT_ENCODING)
        except psycopg2.OperationalError as error:
            if any(answer in str(error) for answer in STARTING):
                deadline.extend()
                if time.monotonic() > shown_at:
                    say(f"  PostgreSQL is replaying its log, as after a crash; see {log}.")
                    shown_at = math.inf
            return None

    connection = deadline.wait_until(connected, lambda: f"postgres.{_tail(log)}")
    try:
        connection.autocommit = True  # CREATE DATABASE runs outside transactions
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (url.database,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{url.database}"')
    finally:
        connection.close()


def wait_for_services(
    client: SupervisorClient,
    settings: Settings,
    home: Home,
    deadline: StartDeadline,
) -> None:
    """Until every process is running, catalog and gateway are ready, and sweeper and sender beat.

    A worker's heartbeat needs the broker, without which sales go on.

    Restarts within this time are not reported.
    """

    def ready() -> bool:
        processes = client.processes()
        return (
            all(process.state == "running" for process in processes)
            and not _without_heartbeat(processes, settings)
            and answers_ready(settings.catalog_host, settings.catalog_port)
            and answers_ready(settings.gateway_host, settings.gateway_port)
        )

    deadline.wait_until(ready, lambda: _unready(client.processes(), settings, home))


def answers_ready(host: str, port: int) -> bool:
    """Whether the service that listens there answers 200 to `GET /readyz`."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _without_heartbeat(processes: list[Process], settings: Settings) -> list[str]:
    """Sweepers and senders that have not begun their work."""
    directory = heartbeat_directory(settings.heartbeat_dir)
    try:
        beating = {beat.process for role in BEATING for beat in last_beats(directory, role)}
    except OSError:  # another process has just ended; or the directory is wrong, as their logs say
        beating = set()
    roles = ((each, each.name.partition("-")[0]) for each in processes)
    return [
        each.name for each, role in roles if role in BEATING and f"{role}-{each.pid}" not in beating
    ]


def _unready(processes: list[Process], settings: Settings, home: Home) -> str:
    down = [each.name for each in processes if each.state != "running" or each.restarts]
    for service in ("catalog", "gateway"):
        host, port = (getattr(settings, f"{service}_{part}") for part in ("host", "port"))
        if f"{service}-1" not in down and not answers_ready(host, port):
            down.append(f"{service}-1")
    down += [name for name in _without_heartbeat(processes, settings) if name not in down]
    return "".join([", ".join(down), ".", *(_tail(home.logs / f"{name}.log") for name in down)])


def _tail(file: Path) -> str:
    """The last lines of a log, below its name."""
    try:
        lines = file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    return "".join([f"\n{file}:", *(f"\n    {line}" for line in lines or ["(empty)"])])
