"""PostgreSQL and Valkey that can be killed, frozen and started again on the same port."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psutil
import psycopg2
import redis
from sqlalchemy.engine import make_url

from deploy.local.servers import embedded as embedded_servers
from deploy.local.servers.embedded import DATABASE_NAME, EmbeddedServer, run_as
from deploy.migration import DATABASE_OPTIONS as NEW_DATABASE_OPTIONS
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from shared.free_port import free_port
from tests.support.orphans import folder_of_run
from tests.support.postgres_version import postgres_version, server_programs
from tests.support.waiting import eventually

STOPPED_WITHIN_SECONDS = 30
TEMPLATE_DATABASE = "eventify_template"
# Before version 17 no locale is PostgreSQL's own. Both as docs/operations.md says.
LOCALE, DATABASE_OPTIONS = (
    (embedded_servers.LOCALE, NEW_DATABASE_OPTIONS)
    if postgres_version() >= 17
    else (("--locale=C.UTF-8",), "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
)
# Files are copied: cheaper than the default, which writes every page to the WAL. Version 14 knows
# no other way.
COPIES_FILES = "STRATEGY FILE_COPY" if postgres_version() >= 15 else ""
_database_numbers = count(1)


class Server:
    """One server process and the processes that it makes.

    Args:
        embedded: what to run.
        log: where its output goes.
    """

    def __init__(self, embedded: EmbeddedServer, log: Path = Path(os.devnull)) -> None:
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
        self._signal_family(signal.SIGKILL)
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
        """When it returns, the process is stopped, or has ended: its parent cannot reap it."""

        def stands_still() -> None:
            assert process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)

        with suppress(psutil.NoSuchProcess):
            process.suspend()
            eventually(stands_still)

    def thaw(self) -> None:
        self._signal_family(signal.SIGCONT)

    def _signal_family(self, signal_number: int) -> None:
        """To the process and all that it made; any of these may end meanwhile."""
        if self._process is None or not self.runs:
            return
        parent = psutil.Process(self._process.pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)


@contextmanager
def running(embedded: EmbeddedServer) -> Iterator[Server]:
    """Run a server from its first answer until the block ends."""
    server = Server(embedded)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def new_postgres(folder: Path) -> EmbeddedServer:
    """What `prepare_postgres` makes in that folder, at a free port."""
    _copy(_made_once("new-postgres", _prepare_postgres), folder)
    return _prepare_postgres(folder)


def migrated_postgres(folder: Path) -> EmbeddedServer:
    """The same with the database `eventify`, and with the one that `new_database` copies."""
    copy_migrated_postgres(folder)
    return _prepare_postgres(folder)


def copy_migrated_postgres(folder: Path) -> None:
    """Its files: to copy them takes a twentieth of the time to make them."""
    _copy(_made_once("migrated-postgres", _make_migrated_postgres), folder)


def _copy(files: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{files}/.", str(folder)], check=True)


def _made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process of a run makes for all."""
    files = folder_of_run() / name
    with files.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not files.exists():
            new = files.with_suffix(".new")
            make(new)
            new.rename(files)
    return files


def _prepare_postgres(folder: Path) -> EmbeddedServer:
    """Of the version that the tests run on."""
    with (
        patch.object(embedded_servers, "postgres_programs", server_programs),
        patch.object(embedded_servers, "LOCALE", LOCALE),
    ):
        return embedded_servers.prepare_postgres(folder, free_port())


def _make_migrated_postgres(folder: Path) -> None:
    """Ids of events and of ticket types differ, so that one taken for the other is not found."""
    with running(with_settings(new_postgres(folder), fsync="off")) as server:
        run_admin(server.url, f"CREATE DATABASE {DATABASE_NAME}")
        engine = open_engine(Settings(database_url=server.url), "test-migrate")
        migrate(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE events ALTER id RESTART WITH 1001")
            connection.exec_driver_sql("ALTER TABLE ticket_types ALTER id RESTART WITH 2001")
        engine.dispose()
        run_admin(server.url, f"CREATE DATABASE {TEMPLATE_DATABASE} TEMPLATE {DATABASE_NAME}")


def with_settings(embedded: EmbeddedServer, **settings: str) -> EmbeddedServer:
    """The same PostgreSQL with these settings."""
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    program = replace(embedded.program, argv=(*embedded.program.argv, *given))
    return replace(embedded, program=program)


def beside(embedded: EmbeddedServer, data: Path, port: int | None = None) -> EmbeddedServer:
    """The same PostgreSQL with another data folder, on that port or a free one."""
    port = port or free_port()
    argv = list(embedded.program.argv)
    before = argv[argv.index("-p") + 1]
    argv[argv.index("-D") + 1], argv[argv.index("-p") + 1] = str(data), str(port)
    url = embedded.url.replace(f":{before}/", f":{port}/")
    return EmbeddedServer(replace(embedded.program, argv=tuple(argv)), url)


def admin_connection(server_url: str, database: str = "postgres") -> psycopg2.extensions.connection:
    """A connection that can make databases."""
    connection = psycopg2.connect(with_database(server_url, database))
    connection.autocommit = True
    return connection


def run_admin(server_url: str, statement: str, database: str = "postgres") -> None:
    connection = admin_connection(server_url, database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@contextmanager
def server_setting(server_url: str, name: str, value: str) -> Iterator[None]:
    """The server has it until the end of the block; sessions that are open take it, too."""
    with closing(admin_connection(server_url)) as admin, admin.cursor() as cursor:

        def is_reloaded() -> None:
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (value,)

        cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        cursor.execute("SELECT pg_reload_conf()")
        try:
            eventually(is_reloaded)
            yield
        finally:
            cursor.execute(f"ALTER SYSTEM RESET {name}")
            cursor.execute("SELECT pg_reload_conf()")


def with_database(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """A database with the schema and nothing else, for as long as the block lasts."""
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    run_admin(server_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE_DATABASE} {COPIES_FILES}")
    yield with_database(server_url, name)
    run_admin(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def unreachable(server_url: str, database_url: str) -> Iterator[None]:
    """The database accepts no connections, and ends those that it has."""
    name = make_url(database_url).database
    run_admin(server_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    run_admin(
        server_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        yield
    finally:
        run_admin(server_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
