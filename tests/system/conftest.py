"""A shop that is open: one system for all tests that only trade on it.

It is gone when the last test of this folder is: an idle system takes 3 % of a core.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
from psycopg2.extensions import cursor

from deploy.local.home import Home
from shared.auth.mint_tokens import mint_tokens, user_names
from shared.config.settings import Settings
from shared.database.engine import open_engine
from tests.support.issuers import Issuer, setting_of
from tests.support.servers import copy_migrated_postgres
from tests.system.operators import Operator, an_operator
from tests.system.selling import OnSale, put_on_sale

# Of the large shop: so many purchase requests at once are not too many.
PURCHASE_RATE_BURST = 5
_names = count(1)


class Shop:
    """A running system, as its users see it."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        report = operator.status()
        self.url: str = report["gateway_url"]
        self.database_url: str = report["database_url"]
        self.redis_url: str = report["redis_url"]
        self.home = Home(operator.home)
        self.settings = Settings(database_url=self.database_url, keys_dir=self.home.keys)
        self._engine = open_engine(self.settings, "test")
        self._closing = ExitStack()

    def user(self) -> httpx.Client:
        """A new user, signed in."""
        (client,) = self.users(1)
        return client

    def users(self, how_many: int) -> list[httpx.Client]:
        names = user_names(f"user{next(_names)}_", how_many)
        with self._engine.begin() as connection:
            tokens = list(mint_tokens(connection, self.settings, names))
        return [self.client(token) for token in tokens]

    def client(self, token: str | None = None) -> httpx.Client:
        """Whoever holds this token; without one, somebody who is not signed in."""
        client = httpx.Client(
            base_url=self.url,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=40,
        )
        return self._closing.enter_context(client)

    @contextmanager
    def database(self, name: str | None = None) -> Iterator[cursor]:
        """The database (or another of its server), each statement a transaction of its own."""
        with closing(psycopg2.connect(self.database_url, dbname=name)) as connection:
            connection.autocommit = True
            with connection.cursor() as statements:
                yield statements

    @contextmanager
    def decisions_suspended(self) -> Iterator[None]:
        """Workers and sweepers stand still, wherever they are, until the block ends."""
        with ExitStack() as resuming:
            for process in self.operator.status()["processes"]:
                if process["name"].startswith(("worker-", "sweeper-")):
                    parent = psutil.Process(process["pid"])
                    for one in (parent, *parent.children(recursive=True)):
                        one.suspend()
                        resuming.callback(one.resume)
            yield

    def close(self) -> None:
        self._closing.close()
        self._engine.dispose()

    def audit(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.operator.call("audit", "--json").stdout)
        return report


@contextmanager
def open_shop(*arguments: str, forks: bool = True, **settings: str) -> Iterator[Shop]:
    """A shop of its own: arguments of `eventify up`, settings as environment variables.

    `forks`: see `Operator.start`.
    """
    with an_operator() as operator:
        operator.environment |= settings
        copy_migrated_postgres(operator.home / "postgres")
        operator.start(*arguments, forks=forks)
        with closing(Shop(operator)) as shop:
            yield shop
        operator.stop()


@pytest.fixture(scope="package")
def issuer() -> Iterator[Issuer]:
    """Another issuer, whose tokens the shop accepts."""
    with Issuer().running() as issuer:
        yield issuer


@pytest.fixture(scope="package")
def shop(issuer: Issuer) -> Iterator[Shop]:
    # All tests have one address between them, and some of them one organiser.
    with open_shop(
        EVENTIFY_SIGN_IN_RATE_BURST="10000",
        EVENTIFY_CATALOG_WRITE_RATE_BURST="10000",
        EVENTIFY_LIST_RATE_BURST="10000",
        EVENTIFY_WEBHOOKS_MAX_OF_USER="1000",
        EVENTIFY_TRUSTED_ISSUERS=setting_of(issuer),
    ) as shop:
        yield shop


@pytest.fixture(scope="package")
def large_shop() -> Iterator[Shop]:
    """Several processes of each kind, which log all they can; for tests of logs and metrics."""
    with open_shop(
        *("--gateways", "2", "--workers", "2"),
        forks=False,
        EVENTIFY_LOG_LEVEL="DEBUG",
        EVENTIFY_ACCESS_LOG="true",
        EVENTIFY_PURCHASE_RATE_BURST=str(PURCHASE_RATE_BURST),
        EVENTIFY_COUNTER_WATCH_SECONDS="0.1",
    ) as shop:
        yield shop


@pytest.fixture(scope="package")
def hooked_shop() -> Iterator[Shop]:
    """It sends webhooks to this machine, and lets a shop buy as often as it likes."""
    with open_shop(
        EVENTIFY_PURCHASE_RATE_BURST="10000",
        EVENTIFY_WEBHOOK_ALLOW_HTTP="true",
        EVENTIFY_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
        EVENTIFY_WEBHOOK_TIMEOUT_SECONDS="2",
        EVENTIFY_WEBHOOK_RETRY_FIRST_SECONDS="0.1",
        EVENTIFY_WEBHOOKS_MAX_OF_USER="3",
    ) as shop:
        yield shop


@pytest.fixture(scope="package")
def organiser(shop: Shop) -> httpx.Client:
    return shop.user()


@pytest.fixture
def buyer(shop: Shop) -> httpx.Client:
    return shop.user()


@pytest.fixture
def on_sale(organiser: httpx.Client) -> OnSale:
    """Puts a ticket type on sale and gives its id."""
    return partial(put_on_sale, organiser)


@pytest.fixture
def operator() -> Iterator[Operator]:
    with an_operator() as operator:
        yield operator
