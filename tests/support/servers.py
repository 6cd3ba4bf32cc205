"""PostgreSQL and Valkey that can be killed, frozen and started again on the same port."""

import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg2
import redis

from deploy.local.servers.embedded import EmbeddedServer, run_as
from tests.conftest import admin_connection
from tests.support.waiting import eventually

STOPPED_WITHIN_SECONDS = 30


class Server:
    """One server process and the processes that it makes.

    Args:
        embedded: what to run.
        log: where its output goes.
    """

    def __init__(self, embedded: EmbeddedServer, log: Path) -> None:
        self.embedded = embedded
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.embedded.url

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers; nothing where it runs already."""
        if self.runs:
            return
        program = self.embedded.program
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.argv,
                **run_as(program.user),
                cwd="/",
                start_new_session=True,  # Ctrl-C is ours to handle
                stdout=log,
                stderr=log,
            )
        eventually(self.answers, retry_on=(psycopg2.OperationalError, redis.RedisError))

    def answers(self) -> None:
        """Raises what its driver raises while it does not."""
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                client.ping()
        else:
            admin_connection(self.url).close()

    def end(self, signal_number: int) -> None:
        """Send it a signal and wait until it has ended; nothing where it does not run."""
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(STOPPED_WITHIN_SECONDS)

    def kill(self) -> None:
        """End all its processes at once, as when its machine loses power."""
        self.freeze()
        for process in self._family():
            process.kill()
        if self._process is not None:
            self._process.wait(STOPPED_WITHIN_SECONDS)

    def stop(self) -> None:
        self.thaw()
        self.end(self.embedded.program.stop_signal)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered."""
        if self._process is None or not self.runs:
            return
        parent = psutil.Process(self._process.pid)
        self._suspend(parent)  # first: it makes no more children then
        for child in parent.children(recursive=True):
            self._suspend(child)

    def _suspend(self, process: psutil.Process) -> None:
        """When it returns, the process is stopped."""

        def stands_still() -> None:
            assert process.status() == psutil.STATUS_STOPPED

        with suppress(psutil.NoSuchProcess):
            process.suspend()
            eventually(stands_still)

    def thaw(self) -> None:
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        if self._process is None or not self.runs:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]
