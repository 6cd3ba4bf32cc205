"""Starts and stops a system on this machine."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.database import database
from deploy.local.environment import http_url, service_environment, settings_from
from deploy.local.home import (
    AlreadyRunningError,
    Home,
    RunningState,
    lock_home,
    make_home,
    make_private,
    write_state,
)
from deploy.local.ports import refuse_other_listeners, reserve_port
from deploy.local.readiness import (
    READY_SECONDS,
    StartDeadline,
    wait_for_database,
    wait_for_services,
    wait_for_supervisor,
)
from deploy.local.servers.connections import max_connections
from deploy.local.servers.embedded import (
    DATABASE_NAME,
    prepare_postgres,
    prepare_valkey,
    service_logins,
)
from deploy.local.services import GATEWAYS, SERVERS, SERVICES, service_groups
from deploy.local.supervisor.client import SupervisorClient, SupervisorUnavailableError
from deploy.local.supervisor.program import Program, ProgramGroup
from deploy.local.supervisor.supervision import (
    clear_away,
    make_socket_path,
    start_supervisor,
    stop_supervisor,
)
from deploy.migration import migrate_all
from shared.auth.keys import ensure_signing_key
from shared.config.settings import PREFIX, Settings, variable
from shared.config.url_passwords import without_passwords
from shared.database.logins import ROLE_OF_SETTING
from shared.errors import ConfigurationError
from shared.free_port import free_port

Say = Callable[[str], None]
StopRequested = Callable[[], bool]
# How soon Ctrl-C has an effect; a query of the supervisor costs next to nothing.
FOLLOW_SECONDS = 0.5
# More of one kind on one machine are a typing error.
MOST_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class UpOptions:
    host: str
    port: int
    gateways: int
    workers: int
    restored: bool = False  # the database is an older copy of itself


@dataclass(frozen=True, slots=True)
class System:
    """A started system; `process` is its supervisor."""

    home: Home
    state: RunningState
    settings: Settings
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> SupervisorClient:
        return SupervisorClient(self.state.supervisor_socket)


def start(home: Home, options: UpOptions, say: Say, stop_requested: StopRequested) -> System:
    """Start everything and wait until it is ready; a start that fails is stopped.

    Args:
        home: where its data is.
        options: of `eventify up`.
        say: gets each line of progress.
        stop_requested: whether a stop signal was received.

    Raises:
        AlreadyRunningError: this home has a running system, which is not touched.
        ConfigurationError: a mistake of the operator, or a process does not start.
    """
    _check(options)
    environment = service_environment(os.environ, home, options.host, options.port)
    # Mistakes in the settings are found before anything is touched; the database is known later.
    known = settings_from({"EVENTIFY_DATABASE_URL": f"postgresql:///{DATABASE_NAME}"} | environment)
    make_home(home)
    with ExitStack() as held:
        lock = lock_home(home)
        held.callback(os.close, lock)
        make_private(home)
        if ended := clear_away(home):
            say(f"Stopped {ended} processes of a killed supervisor.")
        ports = [held.enter_context(reserve_port(*address)) for address in _addresses(known)]
        connections = max_connections(known, options.gateways, options.workers)
        servers = _prepare_servers(home, environment, connections, say)
        settings = settings_from(environment)
        ensure_signing_key(settings.keys_dir)
        _empty(home.metrics)
        inherited = [lock, *(port.fileno() for port in ports if port.fileno() >= 0)]
        system = _launch(home, options, settings, environment, servers, inherited)
    try:
        _bring_up(system, servers, options.restored, say, stop_requested)
        for address in _addresses(settings):
            refuse_other_listeners(home, *address)
    except BaseException:
        stop(system)
        raise
    return system


def stop(system: System) -> None:
    """Stop everything, and wait for its end.

    Raises:
        ConfigurationError: it does not stop.
    """
    if system.process.poll() is None:
        stop_supervisor(system.home, system.process.pid)
        system.process.wait()
    try:
        lock = lock_home(system.home)
    except AlreadyRunningError:
        return  # another `up` has started since
    try:
        clear_away(system.home)
    finally:
        os.close(lock)


def follow(system: System, say: Say, stop_requested: StopRequested) -> None:
    """Report restarts until a stop is requested, or the supervisor exits."""
    restarts: dict[str, int] | None = None  # those of the start are not reported
    while system.process.poll() is None and not stop_requested():
        with suppress(SupervisorUnavailableError):  # it is stopping
            counts = {each.name: each.restarts or 0 for each in system.client.processes()}
            for name, count in counts.items():
                if restarts is not None and count > restarts.get(name, 0):
                    say(f"{name} exited and was restarted; see its log.")
            restarts = counts
        time.sleep(FOLLOW_SECONDS)


def _check(options: UpOptions) -> None:
    if not 1 <= options.port <= 65_535:
        raise ConfigurationError(f"--port {options.port} is not between 1 and 65535.")
    for name, number in (("gateways", options.gateways), ("workers", options.workers)):
        if not 1 <= number <= MOST_PROCESSES:
            raise ConfigurationError(f"--{name} {number} is not between 1 and {MOST_PROCESSES}.")


def _addresses(settings: Settings) -> list[tuple[str, int, str]]:
    """Where the services listen, and the option that changes it."""
    return [
        (settings.gateway_host, settings.gateway_port, "--port"),
        (settings.catalog_host, settings.catalog_port, "EVENTIFY_CATALOG_PORT"),
    ]


def _empty(folder: Path) -> None:
    """Metrics count since the start."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True, mode=0o700)


def _prepare_servers(
    home: Home, environment: dict[str, str], connections: int, say: Say
) -> tuple[Program, ...]:
    """The embedded servers that the caller did not replace; adds their URLs to the environment.

    `connections`: those that an embedded PostgreSQL allows.
    """
    servers = []
    if "EVENTIFY_DATABASE_URL" in environment:
        with database(settings_from(environment)) as engine:
            engine.connect().close()
    else:
        with _timed("PostgreSQL's files", say):
            postgres = prepare_postgres(home.postgres, free_port(), connections)
        environment["EVENTIFY_DATABASE_URL"] = postgres.url
        environment |= service_logins(home.postgres, postgres.url)
        servers.append(postgres.program)
    if "EVENTIFY_REDIS_URL" in environment:
        # redis-py is slow to import, and most systems run their own Valkey.
        from deploy.local.servers.redis_check import redis_answers  # noqa: PLC0415

        settings = settings_from(environment)
        if not redis_answers(settings):
            redis_url = without_passwords(settings.redis_url)
            say(f"Warning: {redis_url} does not respond; sales go on, but slower.")
    else:
        valkey = prepare_valkey(home.valkey, free_port())
        environment["EVENTIFY_REDIS_URL"] = valkey.url
        servers.append(valkey.program)
    return tuple(servers)


def _launch(
    home: Home,
    options: UpOptions,
    settings: Settings,
    environment: dict[str, str],
    servers: tuple[Program, ...],
    inherited: Sequence[int],
) -> System:
    """Start the supervisor with its servers, and record it.

    Raises:
        ConfigurationError: the home cannot be written; nothing is left running.
    """
    groups = service_groups(settings, options.gateways, options.workers)
    if servers:
        groups = (ProgramGroup(SERVERS, servers, autostart=True), *groups)
    socket_path = make_socket_path()
    process = None
    try:
        process = start_supervisor(
            home, groups, _supervisor_environment(environment), socket_path, inherited
        )
        state = RunningState(
            gateway_url=http_url(options.host, options.port),
            catalog_url=settings.catalog_url,
            supervisor_pid=process.pid,
            supervisor_socket=socket_path,
            environment=environment,
        )
        write_state(home, state)
    except OSError as error:
        # Without its record no command would find it.
        if process is not None:
            stop_supervisor(home, process.pid)
            process.wait()
        shutil.rmtree(Path(socket_path).parent, ignore_errors=True)
        raise ConfigurationError(
            f"Cannot start Eventify in {home.path}: {error.strerror or error}."
        ) from error
    return System(home, state, settings, process)


def _supervisor_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the owner's database URL, if each service has its own login."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    logins = {variable(setting) for setting in ROLE_OF_SETTING}
    result = others | dict(environment)
    if all(environment.get(login) for login in logins):
        del result[variable("database_url")]
    return result


def _bring_up(
    system: System,
    servers: tuple[Program, ...],
    restored: bool,
    say: Say,
    stop_requested: StopRequested,
) -> None:
    home, settings = system.home, system.settings
    deadline = StartDeadline(READY_SECONDS, stop_requested)
    wait_for_supervisor(system.process, system.client, home, deadline)
    if any(program.name == "postgres" for program in servers):
        with _timed("PostgreSQL and Valkey" if len(servers) > 1 else "PostgreSQL", say):
            wait_for_database(settings.database_url, home, deadline, say)
    with _timed("the schema", say), database(settings, migrating=True) as engine:
        # Before a service starts: what it decides belongs to the new epoch.
        migrate_all(engine, settings, say, restored=restored)
    deadline = StartDeadline(READY_SECONDS, stop_requested)  # millions of sales take minutes
    with _timed("the services", say):
        system.client.start(SERVICES)
        system.client.start(GATEWAYS)
        wait_for_services(system.client, settings, home, deadline)


@contextmanager
def _timed(what: str, say: Say) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"  {what:<22} {time.monotonic() - began:5.1f} s")
