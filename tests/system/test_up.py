"""The operator's command on one machine: the real supervisor, the real servers and services."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.embedded import free_port
from deploy.local.leftovers import lives
from tests.system.operators import Operator, operator_in
from tests.waiting import eventually

EXPECTED = {"postgres", "valkey", "catalog-1", "worker-1", "sweeper-1", "gateway-1", "gateway-2"}


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with operator_in(tmp_path) as operator:
        yield operator


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator whose system runs, for tests that leave it running."""
    with operator_in(tmp_path_factory.mktemp("running")) as operator:
        started = operator.up("--gateways", "2")
        assert started.returncode == 0, started.stderr
        yield operator


def gateway_is_ready(operator: Operator) -> None:
    assert httpx.get(f"http://127.0.0.1:{operator.port}/readyz").status_code == 200


def read_until(text: str, foreground: subprocess.Popen[str]) -> str:
    """What a command printed until then, that line included."""
    assert foreground.stdout is not None
    lines = []
    for line in foreground.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended without a word of {text!r}: {lines}")


def test_up_runs_everything_and_down_leaves_nothing(operator: Operator) -> None:
    started = operator.up("--gateways", "2")
    assert started.returncode == 0, started.stderr
    assert f"http://127.0.0.1:{operator.port}" in started.stdout

    report = operator.status()
    assert {process["name"] for process in report["processes"]} == EXPECTED
    assert all(process["state"] == "running" for process in report["processes"])
    assert all(process["restarts"] == 0 for process in report["processes"])
    assert report["database_url"].startswith("postgresql://")
    assert report["redis_url"].startswith("redis://")
    assert httpx.get(f"{report['gateway_url']}/readyz").status_code == 200
    assert httpx.get(f"{report['catalog_url']}/readyz").status_code == 200

    stopped = operator.run("down")
    assert (stopped.returncode, stopped.stdout) == (0, "Eventify is stopped.\n")
    assert operator.living() == []
    assert operator.status() == {"running": False}
    again = operator.run("down")
    assert again.returncode == 0
    assert "Nothing is running" in again.stdout


@pytest.mark.parametrize("name", sorted(EXPECTED))
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


def test_a_killed_supervisor_leaves_orphans_that_up_and_down_end(operator: Operator) -> None:
    assert operator.up().returncode == 0
    before = operator.processes()
    operator.kill_supervisor()
    assert operator.status() == {"running": False}
    orphans = operator.living()
    assert {process["pid"] for process in before.values()} <= {o.pid for o in orphans}

    anew = operator.up()

    assert anew.returncode == 0, anew.stderr
    assert not any(lives(orphan) for orphan in orphans)
    gateway_is_ready(operator)

    operator.kill_supervisor()
    stopped = operator.run("down")
    assert (stopped.returncode, stopped.stdout) == (0, "Eventify is stopped.\n")
    assert operator.living() == []


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_up_stops_everything_cleanly(
    operator: Operator, stop_signal: signal.Signals
) -> None:
    with operator.start_in_foreground() as foreground:
        read_until("Ctrl-C stops it.", foreground)
        foreground.send_signal(stop_signal)
        assert read_until("Eventify is stopped.", foreground)
        assert foreground.wait(timeout=30) == 0
    assert operator.living() == []


def test_up_interrupted_while_it_starts_leaves_nothing(operator: Operator) -> None:
    with operator.start_in_foreground() as foreground:
        read_until("PostgreSQL and Valkey", foreground)
        foreground.send_signal(signal.SIGINT)
        assert read_until("everything was stopped again", foreground)
        assert foreground.wait(timeout=30) == 1
    assert operator.living() == []
    assert operator.status() == {"running": False}


def test_up_says_when_its_supervisor_was_killed(operator: Operator) -> None:
    with operator.start_in_foreground() as foreground:
        read_until("Ctrl-C stops it.", foreground)
        operator.kill_supervisor()
        assert read_until("supervisor was killed", foreground)
        assert foreground.wait(timeout=30) == 1
    assert operator.living() == []


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--gateways", "0"], {}, "--gateways 0 is not between 1 and 64"),
        (["--port", "65536"], {}, "--port 65536 is not between 1 and 65535"),
        (["--host", "nowhere.invalid"], {}, "Cannot listen on nowhere.invalid port"),
        ([], {"EVENTIFY_DATABASE_URL": "nonsense"}, "EVENTIFY_DATABASE_URL"),
        ([], {"EVENTIFY_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Connection refused"),
        ([], {"EVENTIFY_REDIS_URL": "nonsense"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_REDIS_URL": "redis://127.0.0.1:none/0"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_ACCEPT_WRITERS": "many"}, "EVENTIFY_ACCEPT_WRITERS"),
        ([], {"EVENTIFY_HOME": "/proc/nowhere"}, "Cannot write to /proc/nowhere"),
    ],
)
def test_an_operators_mistake_is_told_in_one_sentence(
    operator: Operator, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    refused = operator.run(
        "up", "--detach", "--port", str(operator.port), *arguments, **environment
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert operator.living() == []


def test_a_taken_port_is_named_even_when_its_owner_would_share_it(operator: Operator) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", operator.port))
        stranger.listen()

        refused = operator.up()

    assert refused.returncode == 1
    assert f"port {operator.port}: Address already in use" in refused.stderr
    assert operator.living() == []
