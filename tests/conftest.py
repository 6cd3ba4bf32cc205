"""Real servers for every test that asks: one PostgreSQL and one Valkey a run, a database a test."""

import gc
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
import redis
from cryptography.hazmat.primitives import serialization
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from deploy.local.servers.embedded import prepare_valkey
from shared.auth.keys import SigningKey, ensure_signing_key, load_signing_key
from shared.config.settings import Settings, get_settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.support.orphans import folder_of_run
from tests.support.servers import (
    migrated_postgres,
    new_database,
    running,
    with_settings,
)
from tests.support.services import folder_for_servers

LONGEST = (
    *("tests/deep/chaos/test_faults.py", "tests/deep/system/", "tests/deep/test_fuzz.py"),
    *("tests/deep/chaos/", "tests/deep/browser/", "tests/deep/"),
    *("tests/system/test_up.py", "tests/system/hostile/", "tests/system/contract/"),
    *("tests/browser/", "tests/chaos/", "tests/clients/", "tests/system/", "tests/sdk/"),
)
# To start and stop a system takes seconds of CPU, and each process of a run has its own.
SHARE_A_SYSTEM = (
    (
        *("tests/system/hostile/", "tests/system/test_api_guide.py"),
        *("tests/system/test_loadtest.py", "tests/system/test_on_sale.py"),
        *("tests/system/test_openapi_document.py", "tests/system/test_rights.py"),
        "tests/system/test_trusted_issuers.py",
    ),
    ("tests/system/contract/", "tests/system/wire/", "tests/system/test_sale_control.py"),
    ("tests/system/test_metrics.py", "tests/system/test_logs.py"),
    ("tests/browser/",),
    ("tests/sdk/",),
    # In two halves: together they would take longer than all other tests of theirs.
    ("tests/deep/browser/test_console", "tests/deep/browser/test_core_modules.py"),
    ("tests/deep/browser/",),
    ("tests/deep/clients/",),
    ("tests/deep/model/",),
)
# httpx offers no place for it: every client, and every `httpx.get`, reads all certificates of the
# machine, 20 ms of CPU, also where it is to talk plain HTTP, as all tests do.
httpx._transports.default.create_ssl_context = cache(httpx.create_ssl_context)
# To check that a private key is one takes 50 ms of CPU, and each new user's token is signed.
serialization.load_pem_private_key = cache(serialization.load_pem_private_key)
# `--hypothesis-profile=fuzz`: on and on, with other examples each time.
hypothesis_settings.register_profile("fuzz", max_examples=200)
# Its own for CI tries the same examples each time.
hypothesis_settings.register_profile("ci", hypothesis_settings.get_profile("ci"), derandomize=False)


@pytest.fixture(autouse=True)
def _settings_are_read_anew() -> None:
    """A process reads them once, and tests that each have their own share one."""
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` are coroutines on asyncio, as the services are."""
    return "asyncio"


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
    # It need not outlive the machine, and most of its work is to copy databases: in memory that
    # takes a third of the time.
    with folder_for_servers(in_memory=True) as folder:
        prepared = migrated_postgres(folder)
        fast = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
        unlogged = {"wal_level": "minimal", "max_wal_senders": "0"}
        with running(with_settings(prepared, **fast, **unlogged)) as server:
            yield server.url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A database of this test's own."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with folder_for_servers() as folder, running(prepare_valkey(folder, free_port())) as server:
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
        feed_rate_burst=0,
        statement_timeout_ms=60_000,
        answer_timeout_seconds=10.0,
        drain_max_seconds=60.0,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings, "test", pool_size=20, prepares=True)
    yield engine
    engine.dispose()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Half of its CPU went into looking for garbage, of which there is none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process is left with them when the others are done."""

    def rank(item: pytest.Item) -> int:
        return next(n for n, path in enumerate((*LONGEST, "")) if item.nodeid.startswith(path))

    items.sort(key=rank)


class SharedSystems(LoadScopeScheduling):
    """`--dist loadscope`, with the files of each line of SHARE_A_SYSTEM in one process."""

    def _split_scope(self, nodeid: str) -> str:
        for files in SHARE_A_SYSTEM:
            if nodeid.startswith(files):
                return files[0]
        return super()._split_scope(nodeid)


def pytest_xdist_setupnodes() -> None:
    """Its processes inherit it."""
    folder_of_run()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedSystems:
    return SharedSystems(config, log)
