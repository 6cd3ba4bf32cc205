"""The operator's command on one machine: the real supervisor, the real servers and services."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.local.leftovers import lives
from deploy.local.servers.embedded import UNPRIVILEGED_USER, run_as
from tests.conftest import with_database
from tests.support.services import stop_signals_refused
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import refused
from tests.system.operators import WITH_TWO_GATEWAYS, Operator, an_operator, gateway_is_ready
from tests.system.selling import buy, put_on_sale


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


@pytest.fixture
def unsupervised(operator: Operator) -> Operator:
    """Whose supervisor was killed, and whose services sell on."""
    assert operator.up().returncode == 0
    operator.kill_supervisor()
    return operator


def keeps_its_sale_under_control(operator: Operator) -> None:
    """The operator's commands need the database, and no supervisor."""
    with closing(Shop(operator)) as shop:
        organiser = shop.user()
        ticket_type = put_on_sale(organiser, 5)
        assert buy(organiser, ticket_type).status_code == 202
        paused = operator.run("pause", str(ticket_type))
        assert (paused.returncode, paused.stderr) == (0, "")
        refused(buy(organiser, ticket_type), 400, "sale_paused")
        for command in (["resume", str(ticket_type)], ["audit"], ["token", "ada"], ["keys"]):
            done = operator.run(*command)
            assert (done.returncode, done.stderr) == (0, ""), command


def test_a_killed_supervisor_leaves_what_sells_on_until_up_or_down_end_it(
    unsupervised: Operator,
) -> None:
    operator = unsupervised
    orphans = operator.living()
    report = operator.status()
    assert (report["running"], report["supervised"]) == (True, False)
    named = WITH_TWO_GATEWAYS - {"gateway-2"}
    assert {process["name"] for process in report["processes"]} == named
    assert {process["pid"] for process in report["processes"]} <= {o.pid for o in orphans}
    shown = operator.run("status")
    assert "`eventify up` takes over" in shown.stdout
    assert f"{operator.url}\n" in shown.stdout
    keeps_its_sale_under_control(operator)
    kept = operator.run("demo")
    assert (kept.returncode, kept.stderr.count("\n")) == (1, 1)
    assert "`eventify up` takes over" in kept.stderr

    anew = operator.up()

    assert anew.returncode == 0, anew.stderr
    assert not any(lives(orphan) for orphan in orphans)
    gateway_is_ready(operator)

    operator.kill_supervisor()
    stopped = operator.run("down")
    assert (stopped.returncode, stopped.stdout) == (0, "Eventify is stopped.\n")
    assert operator.living() == []


def cut_power(operator: Operator) -> None:
    living = operator.living()
    for process in living:
        process.kill()
    psutil.wait_procs(living)


def end_when_it_was_in_the_way(namesake: subprocess.Popen[bytes], home: Path) -> None:
    def in_the_way() -> None:
        assert "lock file" in (home / "logs" / "postgres.log").read_text()

    eventually(in_the_way, retry_on=(AssertionError, OSError), within_seconds=60)
    namesake.kill()
    namesake.wait()


def test_what_a_power_cut_left_mends_itself_without_a_word(unsupervised: Operator) -> None:
    operator = unsupervised
    cut_power(operator)
    assert operator.status() == {"running": False}
    unreachable = operator.run("audit")
    assert (unreachable.returncode, unreachable.stderr.count("\n")) == (2, 1)
    assert "Connection refused" in unreachable.stderr

    # After a restart of the machine the number of the old PostgreSQL may be another program's.
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    with (
        subprocess.Popen(["sleep", "600"], **run_as(user)) as namesake,
        ThreadPoolExecutor(1) as thread,
    ):
        lock = operator.home / "postgres" / "data" / "postmaster.pid"
        _, others = lock.read_text().split("\n", maxsplit=1)
        lock.write_text(f"{namesake.pid}\n{others}")
        thread.submit(end_when_it_was_in_the_way, namesake, operator.home)
        started = operator.up()

    assert (started.returncode, started.stderr) == (0, "")
    assert operator.processes()["postgres"]["restarts"] > 0
    assert "ended" not in started.stdout


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_up_stops_everything_cleanly(
    operator: Operator, stop_signal: signal.Signals
) -> None:
    # Also where its parent ignores them, as a script does for `eventify up &`.
    with stop_signals_refused():
        started = operator.start_in_foreground()
    with started as foreground:
        read_until("Ctrl-C stops it.", foreground)
        foreground.send_signal(stop_signal)
        assert read_until("Eventify is stopped.", foreground)
        assert foreground.wait(timeout=30) == 0
    assert operator.living() == []


def test_up_interrupted_while_it_starts_leaves_nothing(operator: Operator) -> None:
    with operator.start_in_foreground() as foreground:
        read_until("PostgreSQL's folder", foreground)
        # Else it may be ready before the second one has told that it will not start.
        foreground.send_signal(signal.SIGSTOP)
        with an_operator() as second:
            second.port = operator.port
            refused_port = second.up()
        foreground.send_signal(signal.SIGCONT)
        assert refused_port.returncode == 1
        taken = f"Cannot listen on 127.0.0.1 port {operator.port}: Address already in use"
        assert taken in refused_port.stderr
        assert refused_port.stderr.count("\n") == 1
        foreground.send_signal(signal.SIGINT)
        assert read_until("everything was stopped again", foreground)
        assert foreground.wait(timeout=30) == 1
    assert operator.living() == []
    assert operator.status() == {"running": False}


def test_a_chart_that_cannot_be_written_is_told_before_the_sale(operator: Operator) -> None:
    for chart in ("/nowhere/demo.png", "demo.txt"):
        refused = operator.run("demo", "--chart", chart)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert chart in refused.stderr
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
