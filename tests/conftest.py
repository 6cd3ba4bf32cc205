"""Real servers for every test that asks: one PostgreSQL and one Valkey a run, a database a test."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg2
import pytest
import redis
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from deploy.local.servers.embedded import (
    EmbeddedServer,
    free_port,
    prepare_postgres,
    prepare_valkey,
    run_as,
)
from shared.auth.keys import SigningKey, ensure_signing_key, load_signing_key
from shared.config.settings import Settings, get_settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

TEMPLATE_DATABASE = "eventify_template"
_database_numbers = count(1)
# `--hypothesis-profile=fuzz`: on and on, with other examples each time.
hypothesis_settings.register_profile("fuzz", max_examples=200)


@pytest.fixture(autouse=True)
def _settings_are_read_anew() -> None:
    """A process reads them once, and tests that each have their own share one."""
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` are coroutines on asyncio, as the services are."""
    return "asyncio"


@contextmanager
def running(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """Run a server until the block ends."""
    process = subprocess.Popen(
        server.program.argv,
        **run_as(server.program.user),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield server
    finally:
        process.send_signal(server.program.stop_signal)
        process.wait(timeout=30)


def admin_connection(server_url: str) -> psycopg2.extensions.connection:
    """A connection that can make databases."""
    url = make_url(server_url).set(database="postgres")
    connection = psycopg2.connect(url.render_as_string(hide_password=False))
    connection.autocommit = True
    return connection


def run_admin(server_url: str, statement: str) -> None:
    connection = admin_connection(server_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def with_database(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    ensure_signing_key(folder)
    return folder


@pytest.fixture(scope="session")
def signing_key(keys_dir: Path) -> SigningKey:
    return load_signing_key(keys_dir)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A running PostgreSQL whose template database has the schema."""
    with folder_for_servers() as folder, running(prepare_postgres(folder, free_port())) as server:
        eventually(lambda: admin_connection(server.url).close(), retry_on=psycopg2.OperationalError)
        make_template(server.url)
        yield server.url


def make_template(server_url: str) -> None:
    """Make the database with the schema that `new_database` copies."""
    run_admin(server_url, f"CREATE DATABASE {TEMPLATE_DATABASE}")
    settings = Settings(database_url=with_database(server_url, TEMPLATE_DATABASE))
    engine = open_engine(settings, "test-migrate")
    migrate(engine)
    engine.dispose()


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """A database with the schema and nothing else, for as long as the block lasts."""
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    run_admin(server_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE_DATABASE}")
    yield with_database(server_url, name)
    run_admin(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A database of this test's own."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with folder_for_servers() as folder, running(prepare_valkey(folder, free_port())) as server:
        with redis.Redis.from_url(server.url) as client:
            eventually(client.ping, retry_on=redis.ConnectionError)
        yield server.url


@pytest.fixture
def redis_client(valkey_url: str) -> Iterator[redis.Redis]:
    """A client of the emptied Valkey."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(database_url: str, valkey_url: str, keys_dir: Path) -> Settings:
    # All tests share one Valkey, and each begins to count its users at one: no limits on them. And
    # a machine that is busy with other tests may need longer than a client should wait, or a turn
    # should last.
    return Settings(
        database_url=database_url,
        redis_url=valkey_url,
        keys_dir=keys_dir,
        purchase_rate_burst=0,
        sign_in_rate_burst=0,
        catalog_write_rate_burst=0,
        list_rate_burst=0,
        answer_timeout_seconds=10.0,
        drain_max_seconds=60.0,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings, "test", pool_size=20, prepares=True)
    yield engine
    engine.dispose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process is left with them when the others are done."""
    longest = ("tests/chaos/", "tests/system/")
    items.sort(key=lambda item: not item.nodeid.startswith(longest))
