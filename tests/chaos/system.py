"""A whole system that may be harmed: its servers are ours, and lines lie between it and them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import jwt
import psutil
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from deploy.local.home import Home, running_state
from deploy.local.servers.embedded import prepare_valkey
from deploy.local.supervisor.client import Process, SupervisorClient, SupervisorUnavailableError
from gateway.webhooks import store
from gateway.webhooks.schemas import KINDS
from shared.auth.mint_tokens import mint_tokens, user_names
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.chaos.control import Control
from tests.chaos.movable_clock import MovableClock
from tests.chaos.small_disk import SmallDisk, small_disk
from tests.chaos.wakeup_line import WakeupLine
from tests.support.factories import run
from tests.support.line import Line, carrying
from tests.support.receivers import Receiver
from tests.support.servers import Server, migrated_postgres, with_database
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually
from tests.system.operators import Operator, an_operator

DATABASE = "eventify"
BUYERS = 40
TOKENS_SECONDS = 7 * 86_400
PROCESSES = ("--gateways", "2", "--workers", "2")
SETTINGS = {
    # Few users buy without end here, which the limit of each user is there to prevent.
    "EVENTIFY_PURCHASE_RATE_BURST": "0",
    "EVENTIFY_CATALOG_WRITE_RATE_BURST": "0",
    "EVENTIFY_LIST_RATE_BURST": "0",
    "EVENTIFY_WORKER_PROCESSES": "1",
    # The product's own: while PostgreSQL is unavailable, a 503 comes within two seconds.
    "EVENTIFY_ANSWER_TIMEOUT_SECONDS": str(Settings.model_fields["answer_timeout_seconds"].default),
    # What a sender that was killed had taken is taken by another soon.
    "EVENTIFY_WEBHOOK_TIMEOUT_SECONDS": "1",
    "EVENTIFY_WEBHOOK_POLL_SECONDS": "0.1",
    "EVENTIFY_WEBHOOK_ALLOW_HTTP": "true",
    "EVENTIFY_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
}


class System:
    """Two gateways and two workers with one child each, on servers that this process runs.

    `postgres`, `valkey`: reached directly, not through a line. `database_line`,
    `redis_line`, `broker_line`: between the services and them. `gateway_line`: between buyers and
    the gateways. `disk`: PostgreSQL's. `clock`: the workers'.
    """

    def __init__(
        self,
        operator: Operator,
        postgres: Server,
        valkey: Server,
        disk: SmallDisk,
        folder: Path,
    ) -> None:
        self.operator = operator
        self.postgres = postgres
        self.valkey = valkey
        self.disk = disk
        self.clock = MovableClock(folder)
        self.failpoints = folder / "failpoints"
        self.failpoints.mkdir()
        self.receiver: Receiver | None = None
        self.database_line = Line(_port(postgres.url))
        self.redis_line = Line(_port(valkey.url))
        self.broker_line = WakeupLine(_port(valkey.url), valkey.url)
        self.gateway_line = Line(operator.port)
        self.database_url = with_database(postgres.url, DATABASE)
        self.home = Home(operator.home)
        self.settings = Settings(database_url=self.database_url, keys_dir=self.home.keys)

    @property
    def lines(self) -> tuple[Line, ...]:
        return (self.database_line, self.redis_line, self.broker_line, self.gateway_line)

    @property
    def database_url_of_services(self) -> str:
        return self.database_line.through(self.database_url)

    @property
    def environment_of_services(self) -> dict[str, str]:
        return {
            "EVENTIFY_DATABASE_URL": self.database_url_of_services,
            "EVENTIFY_REDIS_URL": self.redis_line.through(self.valkey.url),
            "EVENTIFY_BROKER_URL": self.broker_line.through(self.valkey.url),
            "EVENTIFY_FAILPOINTS": str(self.failpoints),
            **self.clock.environment,
        }

    def start(self) -> None:
        """Start the services for the first time. A fork would have another library's clock."""
        self.operator.start(*PROCESSES, forks=False, **self.environment_of_services)

    def up(self) -> None:
        """Start them again; also after their supervisor was killed."""
        started = self.operator.up(*PROCESSES, **self.environment_of_services)
        assert started.returncode == 0, started.stdout + started.stderr

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Every entry of the first user's events is sent to `receiver`, until the block ends."""
        with Receiver().running() as self.receiver:
            url, kinds = f"{self.receiver.url}/", [*KINDS]
            store.add(self.engine, min(self.tokens), url, None, kinds, b"s" * 32, webhooks_max=1)
            yield

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        return (f"http://127.0.0.1:{self.gateway_line.port}",)

    @property
    def pulse_url(self) -> str:
        return self.operator.url

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.settings, "chaos")

    @cached_property
    def tokens(self) -> dict[int, str]:
        return tokens_of_buyers(self.engine, self.settings)

    @property
    def supervisor_pid(self) -> int:
        return int(json.loads(self.home.state_file.read_text())["supervisor_pid"])

    def processes(self) -> dict[str, Process]:
        """The services by name, from the supervisor; none while there is no supervisor."""
        state = running_state(self.home)
        if state is None:
            return {}
        try:
            processes = SupervisorClient(state.supervisor_socket).processes()
        except SupervisorUnavailableError:
            return {}
        return {process.name: process for process in processes}

    def process(self, name: str) -> psutil.Process:
        """The process of that name; if it is just being started again, as soon as it runs."""

        def running() -> psutil.Process:
            pid = self.processes()[name].pid
            assert pid is not None, f"{name} does not run"
            return psutil.Process(pid)

        # The supervisor may not have seen yet that it has ended.
        return eventually(running, retry_on=(AssertionError, psutil.NoSuchProcess))

    def wait_until_all_are_started(self) -> None:
        """Until the supervisor has started all services again."""

        def all_started() -> None:
            states = {process.state for process in self.processes().values()}
            assert states == {"running"}, states

        eventually(all_started, within_seconds=60)

    def wait_until_all_run(self) -> None:
        """Until every process does its work, so that rounds do not mix.

        The supervisor calls running what may still be starting: a gateway works when it listens.
        """

        def all_run() -> None:
            processes = self.processes()
            assert processes, "there is no supervisor"
            assert all(works(process) for process in processes.values()), processes

        eventually(all_run, retry_on=(AssertionError, psutil.Error), within_seconds=60)


def tokens_of_buyers(engine: Engine, settings: Settings) -> dict[int, str]:
    """The buyers: an access token for each user id, which outlasts all rounds."""
    settings = settings.model_copy(update={"access_token_seconds": TOKENS_SECONDS})
    with engine.begin() as connection:
        minted = list(mint_tokens(connection, settings, user_names("buyer", BUYERS)))
    unverified = {"verify_signature": False}
    return {int(jwt.decode(token, options=unverified)["sub"]): token for token in minted}


def works(process: Process) -> bool:
    """Whether it runs, and listens if it is a server.

    Raises:
        psutil.Error: it has just ended.
    """
    if process.state != "running" or process.pid is None:
        return False
    if not process.name.startswith(("gateway-", "catalog-")):
        return True
    connections = psutil.Process(process.pid).net_connections("tcp")
    return any(connection.status == psutil.CONN_LISTEN for connection in connections)


@contextmanager
def a_system(control: Control | None = None, **settings: str) -> Iterator[System]:
    """A system of its own, until the block ends.

    Args:
        control: in which way it is broken.
        settings: more of them, as environment variables.
    """
    if control is not None:
        settings |= control.environment
    with folder_for_servers() as folder, an_operator() as operator, ExitStack() as stack:
        operator.environment |= SETTINGS | settings
        disk = stack.enter_context(small_disk(folder / "disk"))
        data = folder / "disk" / "postgres"
        postgres = Server(migrated_postgres(data), folder / "postgres.log")
        valkey = Server(prepare_valkey(folder / "valkey", free_port()), folder / "valkey.log")
        for server in (postgres, valkey):
            stack.callback(server.stop)
            server.start()
        system = System(operator, postgres, valkey, disk, folder)
        stack.enter_context(carrying(*system.lines))
        stack.callback(operator.run, "down")
        system.start()
        if control is not None:
            run(system.engine, control.without)
        with system.receiving():
            yield system
        system.engine.dispose()


def _port(url: str) -> int:
    port = make_url(url).port
    assert port is not None
    return port
