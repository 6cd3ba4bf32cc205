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
        "EVENTIFY_TRUSTED_PROXIES": "",
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
        "EVENTIFY_TRUSTED_PROXIES": "",
        "EVENTIFY_METRICS_PORT": "0",
        "PROMETHEUS_MULTIPROC_DIR": "/srv/eventify/metrics",
    }


@pytest.mark.parametrize(
    ("name", "default"),
    [("EVENTIFY_KEYS_DIR", "/srv/eventify/keys"), ("EVENTIFY_HEARTBEAT_DIR", None)],
)
def test_directories_are_absolute(name: str, default: str | None) -> None:
    assert service_environment({}, HOME, "::1", 8000).get(name) == default

    relative = service_environment({name: "here"}, HOME, "::1", 8000)
    assert relative[name] == str(Path("here").absolute())


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


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory of secrets as the caller names it: relative."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "eventify_database_url").write_text("postgresql://own:b@db.example/eventify\n")
    (folder / "eventify_redis_url").write_text("redis://redis.example/0\n")
    monkeypatch.chdir(tmp_path)
    return "secrets"


def test_a_file_of_the_callers_secrets_is_given_to_services_as_a_variable(secrets: str) -> None:
    caller = {"EVENTIFY_SECRETS_DIR": secrets, "EVENTIFY_REDIS_URL": "redis://mine.example/0"}

    environment = service_environment(caller, HOME, "::1", 8000)

    assert environment["EVENTIFY_DATABASE_URL"] == "postgresql://own:b@db.example/eventify"
    assert environment["EVENTIFY_REDIS_URL"] == "redis://mine.example/0"
    # Services have another working directory, and need it no more.
    assert "EVENTIFY_SECRETS_DIR" not in environment


def test_a_file_of_the_callers_secrets_overrides_the_running_system(
    running: Home, secrets: str
) -> None:
    os.environ["EVENTIFY_SECRETS_DIR"] = secrets

    settings = settings_of_running_system(running)

    assert settings.database_url == "postgresql://own:b@db.example/eventify"
    assert settings.redis_url == "redis://redis.example/0"
    assert login_urls(settings) == {}
