"""A second system, for tests during which a part of it is unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.waiting import eventually
from tests.system.conftest import Shop, open_shop
from tests.system.selling import EVENTS, event_fields

BACKLOG_MAX_ROWS = 3


@pytest.fixture(scope="package")
def fragile_shop() -> Iterator[Shop]:
    """Tests may stop a part of it, and restore it at the end."""
    with open_shop(
        EVENTIFY_BACKLOG_MAX_ROWS=str(BACKLOG_MAX_ROWS), EVENTIFY_BACKLOG_CHECK_SECONDS="0.1"
    ) as shop:
        yield shop


@contextmanager
def database_unavailable(shop: Shop) -> Iterator[None]:
    """The database accepts no connection, and has closed those it had, until the block ends."""
    with shop.database("postgres") as server:
        name = shop.settings.database_url.rpartition("/")[2].partition("?")[0]
        server.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name <> 'eventify-test'",
                (name,),
            )
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    until_ready(shop)


def until_ready(shop: Shop) -> None:
    """Wait until gateway and catalog are running and have their database, for writes as well."""

    def ready() -> None:
        assert httpx.get(f"{shop.url}/readyz").status_code == 200
        user = shop.user()
        assert user.get(EVENTS).status_code == 200
        assert user.post(EVENTS, json=event_fields()).status_code == 201

    eventually(ready, retry_on=(AssertionError, httpx.TransportError))
