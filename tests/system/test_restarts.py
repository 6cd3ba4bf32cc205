"""What dies is started again, and a running system is left alone by whoever asks about it."""

import os
import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.servers.embedded import free_port
from tests.support.waiting import eventually
from tests.system.operators import WITH_TWO_GATEWAYS, Operator, an_operator, gateway_is_ready


@pytest.fixture(scope="module")
def running() -> Iterator[Operator]:
    """An operator whose system runs, for tests that leave it running."""
    with an_operator() as operator:
        started = operator.up("--gateways", "2")
        assert started.returncode == 0, started.stderr
        yield operator


@pytest.mark.parametrize("name", sorted(WITH_TWO_GATEWAYS))
def test_what_is_killed_is_started_again(running: Operator, name: str) -> None:
    before = running.processes()[name]
    os.kill(before["pid"], signal.SIGKILL)

    def is_back() -> None:
        after = running.processes()[name]
        assert after["state"] == "running"
        assert after["pid"] not in (None, before["pid"])
        assert after["restarts"] > before["restarts"]

    eventually(is_back, within_seconds=10)
    eventually(
        lambda: gateway_is_ready(running),
        retry_on=(AssertionError, httpx.HTTPError),
        within_seconds=10,
    )


def test_a_second_up_names_the_running_one_and_touches_nothing(running: Operator) -> None:
    before = running.status()

    second = running.up("--port", str(free_port()))

    assert second.returncode == 1
    assert f"already runs at http://127.0.0.1:{running.port}" in second.stderr
    assert "Traceback" not in second.stderr
    assert running.status() == before


def test_status_for_a_person_shows_no_password(running: Operator) -> None:
    password = urlsplit(running.status()["database_url"]).password
    assert password

    shown = running.run("status").stdout

    assert "gateway-2" in shown
    assert password not in shown


def test_tokens_are_minted_for_the_running_system(running: Operator) -> None:
    minted = running.run("token", "buyer", "--count", "3").stdout.splitlines()

    url = f"http://127.0.0.1:{running.port}/api/users/me/"
    names = [
        httpx.get(url, headers={"Authorization": f"Bearer {token}"}).json()["username"]
        for token in minted
    ]
    assert names == ["buyer1", "buyer2", "buyer3"]
