"""One catalog process, with a database of its own, for all the tests of this folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.integration.catalog.making import make_user
from tests.support.servers import new_database
from tests.support.services import running_service

_names = count(1)


def url_of(settings: Settings) -> str:
    return f"http://{settings.catalog_host}:{settings.catalog_port}"


@pytest.fixture(scope="package")
def catalog_settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=valkey_url,
            keys_dir=keys_dir,
            catalog_port=free_port(),
            body_max_bytes=20_000,
        )


@pytest.fixture(scope="package")
def database(catalog_settings: Settings) -> Iterator[Engine]:
    engine = open_engine(catalog_settings, "test")
    yield engine
    engine.dispose()


@pytest.fixture(scope="package")
def catalog_url(catalog_settings: Settings) -> Iterator[str]:
    url = url_of(catalog_settings)
    with running_service("catalog", catalog_settings, f"{url}/readyz"):
        yield url


@pytest.fixture
def sign_in(
    catalog_settings: Settings, catalog_url: str, signing_key: SigningKey, database: Engine
) -> Iterator[Callable[[], httpx.Client]]:
    """Makes a new user, and gives the client of that user."""
    with ExitStack() as clients:

        def client_of_new_user() -> httpx.Client:
            user_id = make_user(database, f"user{next(_names)}")
            token = mint(catalog_settings, signing_key, user_id, "access")
            headers = {"Authorization": f"Bearer {token}", "X-Test-User": str(user_id)}
            return clients.enter_context(httpx.Client(base_url=catalog_url, headers=headers))

        yield client_of_new_user


@pytest.fixture
def owner(sign_in: Callable[[], httpx.Client]) -> httpx.Client:
    return sign_in()


@pytest.fixture
def someone_else(sign_in: Callable[[], httpx.Client]) -> httpx.Client:
    return sign_in()
