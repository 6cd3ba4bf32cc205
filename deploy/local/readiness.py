"""Waits until a system that was started really answers."""

import http.client
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg2
from sqlalchemy.engine import make_url

from deploy.local.home import Home
from deploy.local.supervisor.client import Process, SupervisorAwayError, SupervisorClient
from shared.config.database_url import CLIENT_ENCODING
from shared.config.settings import Settings
from shared.errors import ConfigurationError

T = TypeVar("T")

# A slow machine's first start takes about 20 s; what takes three times that will not come.
READY_SECONDS = 60.0
LOG_TAIL_LINES = 12


class NotReadyError(ConfigurationError):
    """Something did not become ready in time."""


class InterruptedStartError(ConfigurationError):
    """The operator wants to stop before everything was ready."""


class WaitLimit:
    """How long a start may take, and whether the operator still wants it.

    Args:
        seconds: for the whole start.
        stop_requested: asked at every turn; a signal that raised instead could hit the moment
            between the supervisor's start and its record, and leave it running.
    """

    def __init__(self, seconds: float, stop_requested: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._stop_requested = stop_requested

    def wait_until(self, ready: Callable[[], T | None], or_explain: Callable[[], str]) -> T:
        """Ask again and again until there is an answer that is true.

        Raises:
            NotReadyError: the time is over, with the explanation.
            InterruptedStartError: the operator wants to stop.
        """
        while not (answer := ready()):
            if self._stop_requested():
                raise InterruptedStartError("Interrupted; everything was stopped again.")
            if time.monotonic() > self._ends_at:
                raise NotReadyError(f"Not ready after {self._seconds:.0f} s: {or_explain()}")
            time.sleep(0.05)
        return answer


def wait_for_supervisor(
    supervisor: subprocess.Popen[bytes], client: SupervisorClient, home: Home, wait_limit: WaitLimit
) -> None:
    """Until supervisord answers.

    Raises:
        NotReadyError: it ended, or the time is over.
    """
    output = home.logs / "supervisord.out"

    def answers() -> bool:
        if supervisor.poll() is not None:
            raise NotReadyError(f"The supervisor does not start.{_tail(output)}")
        try:
            client.processes()
        except SupervisorAwayError:
            return False
        return True

    wait_limit.wait_until(answers, lambda: f"the supervisor.{_tail(output)}")


def wait_for_database(database_url: str, home: Home, wait_limit: WaitLimit) -> None:
    """Until the embedded PostgreSQL answers; makes its database where it is missing."""
    url = make_url(database_url)
    server_url = url.set(database="postgres").render_as_string(hide_password=False)

    def connected() -> psycopg2.extensions.connection | None:
        try:
            return psycopg2.connect(server_url, connect_timeout=2, client_encoding=CLIENT_ENCODING)
        except psycopg2.OperationalError:
            return None

    connection = wait_limit.wait_until(
        connected, lambda: f"postgres.{_tail(home.logs / 'postgres.log')}"
    )
    try:
        connection.autocommit = True  # CREATE DATABASE stands in no transaction
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
    wait_limit: WaitLimit,
) -> None:
    """Until every process stays up, and catalog and gateway answer that they are ready.

    What ends and is up again within the start is mended, and no concern of the operator's.
    """

    def ready() -> bool:
        return (
            all(process.state == "running" for process in client.processes())
            and answers_ready(settings.catalog_host, settings.catalog_port)
            and answers_ready(settings.gateway_host, settings.gateway_port)
        )

    wait_limit.wait_until(ready, lambda: _unready(client.processes(), settings, home))


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


def _unready(processes: list[Process], settings: Settings, home: Home) -> str:
    down = [each.name for each in processes if each.state != "running" or each.restarts]
    for service in ("catalog", "gateway"):
        host, port = (getattr(settings, f"{service}_{part}") for part in ("host", "port"))
        if f"{service}-1" not in down and not answers_ready(host, port):
            down.append(f"{service}-1")
    return "".join([", ".join(down), ".", *(_tail(home.logs / f"{name}.log") for name in down)])


def _tail(file: Path) -> str:
    """The last lines of a log, set off from the sentence before them."""
    try:
        lines = file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    return "".join([f"\n{file}:", *(f"\n    {line}" for line in lines or ["(empty)"])])
