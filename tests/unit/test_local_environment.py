"""Which EVENTIFY_* variables the services get."""

from pathlib import Path

import pytest

from deploy.local.environment import http_url, service_environment
from deploy.local.home import Home

HOME = Home(Path("/srv/eventify"))


def test_what_the_caller_gave_stands_above_what_is_worked_out() -> None:
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


def test_keys_are_found_from_wherever_a_service_stands() -> None:
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
def test_a_url_names_an_address_that_can_be_opened(host: str, url: str) -> None:
    assert http_url(host, 8000) == url
