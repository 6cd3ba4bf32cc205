"""A system on one machine, from its first start: the real supervisor, servers and services."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from shared.free_port import free_port
from tests.support.waiting import eventually
from tests.system.operators import PROJECT, WITH_TWO_GATEWAYS, Operator, an_operator

README = (PROJECT / "README.md").read_text()


@pytest.fixture(scope="module")
def running() -> Iterator[Operator]:
    """An operator whose system runs, for tests that leave it running."""
    with an_operator() as operator:
        up_runs_everything(operator)
        yield operator
        operator.kill_supervisor()
        down_leaves_nothing(operator)


def up_runs_everything(operator: Operator) -> None:
    started = operator.up("--gateways", "2")
    assert started.returncode == 0, started.stderr
    for path in ("/", "/console/", "/api/docs/"):
        assert f" {operator.url}{path}\n" in started.stdout
        page = httpx.get(operator.url + path)
        assert page.headers["Content-Type"].startswith("text/html")

    report = operator.status()
    assert {process["name"] for process in report["processes"]} == WITH_TWO_GATEWAYS
    assert all(process["state"] == "running" for process in report["processes"])
    assert all(process["restarts"] == 0 for process in report["processes"])
    assert report["database_url"].startswith("postgresql://")
    assert report["redis_url"].startswith("redis://")
    operator.is_ready()
    assert httpx.get(f"{report['catalog_url']}/readyz").status_code == 200


def down_leaves_nothing(operator: Operator) -> None:
    operator.stop()
    again = operator.run("down")
    assert again.returncode == 0
    assert "Nothing is running" in again.stdout


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
        running.is_ready,
        retry_on=(AssertionError, httpx.HTTPError),
        within_seconds=30,
    )


def test_a_second_up_names_the_running_one_and_changes_nothing(running: Operator) -> None:
    before = running.status()
    second = running.call("up", "--detach", "--port", str(free_port()))
    assert second.returncode == 1
    assert f"already runs at {running.url}" in second.stderr
    assert "run `eventify down` first" in second.stderr
    assert "Starting" not in second.stdout
    assert running.status() == before


def test_status_for_a_person_shows_no_password(running: Operator) -> None:
    password = urlsplit(running.status()["database_url"]).password
    assert password
    shown = running.call("status").stdout
    assert "gateway-2" in shown
    assert password not in shown


def test_settings_of_this_shell_that_differ_from_the_running_system_are_named(
    running: Operator,
) -> None:
    shown = running.call("settings", EVENTIFY_WEBHOOK_ALLOW_HTTP="true")
    assert "the running system has other values of EVENTIFY_WEBHOOK_ALLOW_HTTP;" in shown.stderr
    assert "other values" not in running.call("settings").stderr


def test_tokens_are_minted_for_the_running_system(running: Operator) -> None:
    minted = running.call("token", "buyer", "--count", "3").stdout.splitlines()
    names = [
        httpx.get(
            f"{running.url}/api/users/me/", headers={"Authorization": f"Bearer {token}"}
        ).json()["username"]
        for token in minted
    ]
    assert names == ["buyer1", "buyer2", "buyer3"]


def test_the_quick_start_of_the_readme_works_as_typed(running: Operator) -> None:
    """Between `make up` and the demo; no other test of this module makes an event."""
    section = README.split("## Quick start")[1].split("\n## ")[0]
    commands = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    typed = "\n".join(["set -eu", *commands]).replace("localhost:8000", f"127.0.0.1:{running.port}")
    shown = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True).stdout
    in_order = (
        '"username":"ada"',
        '"title":"Open-air concert"',
        '"capacity":10,"sold":0',
        "202 Accepted",
        '"status":"queued"',
        "201 Created",
        '"status":"confirmed"',
        "400 Bad Request",
        "Not enough tickets available",
    )
    positions = [shown.find(text) for text in in_order]
    assert positions == sorted(positions), shown
    assert -1 not in positions, shown
    assert running.call("audit").returncode == 0


def test_the_readme_names_every_command() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    goals = set(re.findall(r"^([a-z-]+):.*?## ", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named <= goals
    assert {"up", "down", "status", "demo", "audit", "test", "check"} <= named
