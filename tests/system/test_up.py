"""The operator's command on one machine: the real supervisor, the real servers and services."""

import signal
import subprocess

import httpx
import pytest

from deploy.local.leftovers import lives
from tests.conftest import with_database
from tests.system.operators import WITH_TWO_GATEWAYS, Operator, gateway_is_ready


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
    assert {process["name"] for process in report["processes"]} == WITH_TWO_GATEWAYS
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


def test_a_picture_that_cannot_be_written_is_told_before_the_sale(operator: Operator) -> None:
    for picture in ("/nowhere/demo.png", "demo.txt"):
        refused = operator.run("demo", "--picture", picture)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert picture in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_an_audit_that_could_not_be_run_is_not_taken_for_a_violation(
    operator: Operator, postgres_url: str
) -> None:
    without_tables = with_database(postgres_url, "postgres")
    for database_url in ("", "postgresql://127.0.0.1:1/away", without_tables):
        told = operator.run("audit", EVENTIFY_DATABASE_URL=database_url)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith("Error: The audit could not be run: ")
        assert told.stderr.count("\n") == 1


def test_up_says_when_its_supervisor_was_killed(operator: Operator) -> None:
    with operator.start_in_foreground() as foreground:
        read_until("Ctrl-C stops it.", foreground)
        operator.kill_supervisor()
        assert read_until("supervisor was killed", foreground)
        assert foreground.wait(timeout=30) == 1
    assert operator.living() == []
