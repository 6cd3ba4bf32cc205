"""A shop that is open: one system for all tests that only trade on it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.access_tokens import mint_tokens, user_names
from deploy.local.home import Home
from shared.database import open_engine
from shared.settings import Settings
from tests.system.operators import Operator, operator_in

_names = count(1)


class Shop:
    """A running system, as its users see it."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        report = operator.status()
        self.url: str = report["gateway_url"]
        self.database_url: str = report["database_url"]
        self.redis_url: str = report["redis_url"]
        self._settings = Settings(database_url=self.database_url, keys_dir=Home(operator.home).keys)
        self._engine = open_engine(self._settings, "test")
        self._closing = ExitStack()

    def user(self) -> httpx.Client:
        """A new user, signed in."""
        (client,) = self.users(1)
        return client

    def users(self, how_many: int) -> list[httpx.Client]:
        names = user_names(f"user{next(_names)}_", how_many)
        with self._engine.begin() as connection:
            tokens = list(mint_tokens(connection, self._settings, names))
        return [self._closing.enter_context(self._client(token)) for token in tokens]

    def _client(self, token: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=40,
            verify=False,  # reading the certificates takes longer than a purchase
        )

    def close(self) -> None:
        self._closing.close()
        self._engine.dispose()

    def audit(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.operator.run("audit", "--json").stdout)
        return report


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with operator_in(tmp_path_factory.mktemp("shop")) as operator:
        started = operator.up()
        assert started.returncode == 0, started.stderr
        with closing(Shop(operator)) as shop:
            yield shop


@pytest.fixture(scope="session")
def organiser(shop: Shop) -> httpx.Client:
    return shop.user()


@pytest.fixture
def buyer(shop: Shop) -> httpx.Client:
    return shop.user()


@pytest.fixture
def on_sale(organiser: httpx.Client) -> Callable[..., int]:
    """Puts a ticket type on sale and gives its id."""

    def put_on_sale(capacity: int, **fields: Any) -> int:
        starts = datetime.now(UTC) + timedelta(days=30)
        event = organiser.post(
            "/api/events/",
            json={
                "title": "Concert",
                "start_time": starts.isoformat(),
                "end_time": (starts + timedelta(hours=3)).isoformat(),
            },
        )
        assert event.status_code == 201, event.text
        body = {"event": event.json()["id"], "name": "Standing", "price": "25.00"}
        created = organiser.post("/api/ticket-types/", json=body | {"capacity": capacity} | fields)
        assert created.status_code == 201, created.text
        id_: int = created.json()["id"]
        return id_

    return put_on_sale


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with operator_in(tmp_path) as operator:
        yield operator
