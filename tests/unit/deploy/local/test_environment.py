"""Which EVENTIFY_* variables the services get."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from deploy.local.environment import http_url, service_environment, settings_of_running_system
from deploy.local.home import Home, RunningState, write_state
from shared.config.settings import get_settings
from shared.database.logins import login_urls

HOME = Home(Path("/srv/eventify"))


def test_the_callers_variables_override_defaults() -> None:
    caller = {
        "EVENTIFY_CATALOG_PORT": "9001",
        "EVENTIFY_SWEEP_INTERVAL_SECONDS": "2",
        "EVENTIFY_KEYS_DIR": "/etc/keys",
        "EVENTIFY_REDIS_URL": "",
        "PATH": "/bin",
    }

    environment = service_environment(caller, HOME, "0.0.0.0", 8123)

    assert environment == {
        "EVENTIFY_HOME": "/srv/eventify",
        "EVENTIFY_GATEWAY_HOST": "0.0.0.0",
        "EVENTIFY_GATEWAY_PORT": "8123",
        "EVENTIFY_CATALOG_PORT": "9001",
        "EVENTIFY_CATALOG_URL": "http://127.0.0.1:9001",
        "EVENTIFY_KEYS_DIR": "/etc/keys",
        "EVENTIFY_SWEEP_INTERVAL_SECONDS": "2",
        "EVENTIFY_METRICS_PORT": "0",
        "PROMETHEUS_MULTIPROC_DIR": "/srv/eventify/metrics",
    }


def test_the_keys_directory_is_absolute() -> None:
    assert service_environment({}, HOME, "::1", 8000)["EVENTIFY_KEYS_DIR"] == "/srv/eventify/keys"

    relative = service_environment({"EVENTIFY_KEYS_DIR": "keys"}, HOME, "::1", 8000)
    assert Path(relative["EVENTIFY_KEYS_DIR"]).is_absolute()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("tickets.example", "http://tickets.example:8000"),
    ],
)
def test_the_url_of_a_wildcard_address_is_loopback(host: str, url: str) -> None:
    assert http_url(host, 8000) == url


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    recorded = {
        "EVENTIFY_DATABASE_URL": "postgresql://postgres:a@127.0.0.1:5432/eventify",
        "EVENTIFY_GATEWAY_DATABASE_URL": "postgresql://gateway:a@127.0.0.1:5432/eventify",
        "EVENTIFY_CATALOG_DATABASE_URL": "postgresql://catalog:a@127.0.0.1:5432/eventify",
        "EVENTIFY_WORKER_DATABASE_URL": "postgresql://worker:a@127.0.0.1:5432/eventify",
        "EVENTIFY_REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    write_state(home, RunningState("http://a:1", "http://a:2", 1, "socket", recorded))
    with patch.dict(os.environ):
        yield home
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("given", "logins"),
    [
        ({}, ["catalog:a@127.0.0.1", "gateway:a@127.0.0.1", "worker:a@127.0.0.1"]),
        ({"EVENTIFY_DATABASE_URL": "postgresql://own:b@db.example/eventify"}, []),
        (
            {
                "EVENTIFY_DATABASE_URL": "postgresql://own:b@db.example/eventify",
                "EVENTIFY_WORKER_DATABASE_URL": "postgresql://mine:b@db.example/eventify",
            },
            ["mine:b@db.example"],
        ),
    ],
)
def test_a_command_for_another_database_leaves_the_running_systems_logins_alone(
    running: Home, given: dict[str, str], logins: list[str]
) -> None:
    os.environ.update(given)

    urls = login_urls(settings_of_running_system(running)).values()

    assert sorted(url.split("/")[2].removesuffix(":5432") for url in urls) == logins
