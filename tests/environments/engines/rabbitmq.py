"""A RabbitMQ of a test's own: its data, its ports and its Erlang port mapper."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp

from deploy.local.servers.embedded import EmbeddedServer
from deploy.local.supervisor.program import Program
from shared.free_port import free_port
from tests.support.servers import Server
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

# Debian's own `rabbitmq-server` changes to a user of the service; this is what it runs in the end.
OF_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# Erlang's virtual machine starts in seconds, RabbitMQ on a busy machine in many.
STARTED_WITHIN_SECONDS = 90


class RabbitMQ(Server):
    """Started, killed, frozen and started again on the same port, with the same data."""

    def start(self) -> None:
        if self.runs:
            return
        program = self.embedded.program
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.argv, cwd="/", start_new_session=True, stdout=log, stderr=log
            )
        eventually(
            self.answers,
            retry_on=(OSError, amqp.AMQPError),
            within_seconds=STARTED_WITHIN_SECONDS,
        )

    def answers(self) -> None:
        with self.connection():
            pass

    @contextmanager
    def connection(self) -> Iterator[amqp.Connection]:
        host = self.url.rpartition("@")[2].rstrip("/")
        with amqp.Connection(host, connect_timeout=2, read_timeout=2) as connection:
            yield connection

    def control(self, *command: str) -> str:
        """What `rabbitmqctl` prints of this node."""
        variables = self.embedded.program.argv[:-1]
        program = OF_DEBIAN.parent / "rabbitmqctl" if OF_DEBIAN.exists() else "rabbitmqctl"
        return subprocess.run(
            [*variables, str(program), "--quiet", "--no-table-headers", *command],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def missing() -> str:
    """What a machine lacks to run it; nothing if it can."""
    if not OF_DEBIAN.exists() and shutil.which("rabbitmq-server") is None:
        return "rabbitmq-server is not installed (apt install rabbitmq-server)"
    return "" if shutil.which("epmd") else "Erlang's epmd is not installed"


@contextmanager
def a_rabbitmq() -> Iterator[RabbitMQ]:
    """One node, until the block ends."""
    with folder_for_servers() as folder:
        mapper_port, port = free_port(), free_port()
        # It would be left running as a daemon by a RabbitMQ that has to start it.
        mapper = subprocess.Popen(["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"])
        server = RabbitMQ(_prepared(folder, port, mapper_port), folder / "rabbitmq.log")
        try:
            server.start()
            yield server
        finally:
            server.stop()
            mapper.terminate()
            mapper.wait()


def _prepared(folder: Path, port: int, mapper_port: int) -> EmbeddedServer:
    environment = {
        "HOME": folder,  # of the Erlang cookie
        "ERL_EPMD_PORT": mapper_port,
        "RABBITMQ_NODENAME": f"eventify{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_MNESIA_BASE": folder,
        "RABBITMQ_LOG_BASE": folder,
        "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
        "RABBITMQ_CONFIG_FILE": folder / "none",
        "RABBITMQ_CONF_ENV_FILE": folder / "none",
        # One scheduler that sleeps when there is nothing to do.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    program = OF_DEBIAN if OF_DEBIAN.exists() else Path(shutil.which("rabbitmq-server") or "")
    argv = ("env", *(f"{name}={value}" for name, value in environment.items()), str(program))
    return EmbeddedServer(
        Program("rabbitmq", argv, stop_signal=signal.SIGTERM),
        f"amqp://guest:guest@127.0.0.1:{port}/",
    )
