"""The embedded PostgreSQL allows what the services open."""

from pathlib import Path

import pytest

from deploy.local.servers import embedded
from deploy.local.servers.connections import (
    LEAST_CONNECTIONS,
    SENDER_CONNECTIONS,
    SWEEPER_CONNECTIONS,
    gateway_connections,
    max_connections,
    worker_connections,
)
from deploy.local.servers.embedded import prepare_postgres
from gateway.app import _connections
from shared.config.settings import Settings
from tests.support.pools import POOLS

ISSUER = '[{"issuer": "https://a.example", "audience": "a", "jwks_url": "https://a.example/k"}]'
MORE = {
    "accept_writers": 9,
    "status_readers": 11,
    "account_threads": 3,
    "list_threads": 5,
    "catalog_read_threads": 13,
    "catalog_list_threads": 6,
    "catalog_search_threads": 7,
    "catalog_write_threads": 8,
    "worker_processes": 4,
}


@pytest.mark.parametrize("changed", [{}, MORE])
def test_what_a_service_opens_is_counted(changed: dict[str, int]) -> None:
    settings = Settings(
        database_url="postgresql://nowhere/none", trusted_issuers=ISSUER
    ).model_copy(update=changed)

    assert gateway_connections(settings) == _connections(settings)
    assert worker_connections(settings) == 3 * settings.worker_processes
    # One more with tracing, and another with an audit.
    assert POOLS["sweeper"] + 2 == SWEEPER_CONNECTIONS
    assert POOLS["sender"] == SENDER_CONNECTIONS


@pytest.mark.parametrize(("gateways", "workers"), [(1, 1), (7, 1), (5, 20), (64, 64)])
def test_the_connections_carry_what_up_starts(gateways: int, workers: int) -> None:
    most = POOLS["gateway"] * gateways + POOLS["worker"] * workers
    most += POOLS["catalog"] + POOLS["sweeper"] + POOLS["sender"]

    settings = Settings(database_url="postgresql://nowhere/none")

    assert max_connections(settings, gateways, workers) >= max(most + 3, LEAST_CONNECTIONS)


def test_the_embedded_server_is_given_that_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_give_to", lambda *_: None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").touch()
    (tmp_path / "password").write_text("secret")

    assert "max_connections=321" in prepare_postgres(tmp_path, 5432, 321).program.argv
