"""What a killed supervisor, a power cut or a signal leaves, the next `eventify up` repairs."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deploy.local.leftovers import is_running
from deploy.local.servers.embedded import UNPRIVILEGED_USER, run_as
from tests.support.processes import killed_at_last
from tests.support.services import stop_signals_refused
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_problem
from tests.system.operators import WITH_TWO_GATEWAYS, Operator, an_operator
from tests.system.selling import buy, put_on_sale


@pytest.mark.timeout(400)  # five starts
def test_the_next_up_repairs_what_went_wrong(operator: Operator) -> None:
    assert operator.up().returncode == 0
    operator.kill_supervisor()
    its_services_go_on_selling(operator)
    up_takes_over(operator)

    cut_power(operator)
    nothing_runs_and_the_audit_names_the_reason(operator)
    with up_repairs_what_a_power_cut_left(operator) as foreground:
        a_signal_stops_everything(operator, foreground, signal.SIGTERM, exit_code=0)

    with up_in_foreground(operator) as foreground:
        up_reports_that_its_supervisor_was_killed(operator, foreground)

    with up_in_foreground(operator, until="PostgreSQL's files") as foreground:
        a_signal_stops_everything(operator, foreground, signal.SIGHUP, exit_code=1)


def its_services_go_on_selling(operator: Operator) -> None:
    """Also the operator's commands need the database, and no supervisor."""
    report = operator.status()
    assert (report["running"], report["supervised"]) == (True, False)
    assert {process["name"] for process in report["processes"]} == WITH_TWO_GATEWAYS - {"gateway-2"}
    running = {process.pid for process in operator.living()}
    assert {process["pid"] for process in report["processes"]} <= running
    shown = operator.call("status")
    assert "`eventify up` takes over" in shown.stdout
    assert f"{operator.url}\n" in shown.stdout
    with closing(Shop(operator)) as shop:
        organiser = shop.user()
        ticket_type = put_on_sale(organiser, 5)
        assert buy(organiser, ticket_type).status_code == 202
        paused = operator.call("pause", str(ticket_type))
        assert (paused.returncode, paused.stderr) == (0, "")
        check_problem(buy(organiser, ticket_type), 400, "sale_paused")
        for command in (["resume", str(ticket_type)], ["audit"], ["token", "ada"], ["keys"]):
            done = operator.call(*command)
            assert (done.returncode, done.stderr) == (0, ""), command
    demo = operator.call("demo")
    assert (demo.returncode, demo.stderr.count("\n")) == (1, 1)
    assert "`eventify up` takes over" in demo.stderr


def up_takes_over(operator: Operator) -> None:
    unsupervised = operator.living()
    again = operator.up()
    assert again.returncode == 0, again.stderr
    assert not any(is_running(process) for process in unsupervised)
    operator.is_ready()


def cut_power(operator: Operator) -> None:
    living = operator.living()
    for process in living:
        with suppress(psutil.NoSuchProcess):  # its parent took it along
            process.kill()
    psutil.wait_procs(living)


def nothing_runs_and_the_audit_names_the_reason(operator: Operator) -> None:
    assert operator.status() == {"running": False}
    unreachable = operator.call("audit")
    assert (unreachable.returncode, unreachable.stderr.count("\n")) == (2, 1)
    assert "Connection refused" in unreachable.stderr


@contextmanager
def up_repairs_what_a_power_cut_left(operator: Operator) -> Iterator[subprocess.Popen[str]]:
    """After a restart of the machine the pid of the old PostgreSQL may be another program's."""
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    with (
        killed_at_last(subprocess.Popen(["sleep", "600"], **run_as(user))) as namesake,
        ThreadPoolExecutor(1) as thread,
    ):
        lock = operator.home / "postgres" / "data" / "postmaster.pid"
        _, others = lock.read_text().split("\n", maxsplit=1)
        lock.write_text(f"{namesake.pid}\n{others}")
        thread.submit(end_when_it_was_in_the_way, namesake, operator.home)
        # Signals stop it also where its parent ignores them, as a script does for `eventify up &`.
        with stop_signals_refused():
            started = operator.start_in_foreground()
        with killed_at_last(started) as foreground:
            assert "exited" not in read_until("Ctrl-C stops it.", foreground)
            assert operator.processes()["postgres"]["restarts"] > 0
            yield foreground


def end_when_it_was_in_the_way(namesake: subprocess.Popen[bytes], home: Path) -> None:
    def in_the_way() -> None:
        assert "lock file" in (home / "logs" / "postgres.log").read_text()

    eventually(in_the_way, retry_on=(AssertionError, OSError), within_seconds=60)
    namesake.kill()
    namesake.wait()


@contextmanager
def up_in_foreground(
    operator: Operator, until: str = "Ctrl-C stops it."
) -> Iterator[subprocess.Popen[str]]:
    with killed_at_last(operator.start_in_foreground()) as foreground:
        read_until(until, foreground)
        yield foreground


def read_until(text: str, foreground: subprocess.Popen[str]) -> str:
    """What a command printed until then, that line included."""
    assert foreground.stdout is not None
    lines = []
    for line in foreground.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended without a word of {text!r}: {lines}")


def a_signal_stops_everything(
    operator: Operator, foreground: subprocess.Popen[str], number: signal.Signals, exit_code: int
) -> None:
    foreground.send_signal(number)
    stopped = {0: "Eventify is stopped.", 1: "everything was stopped again"}[exit_code]
    assert read_until(stopped, foreground)
    assert foreground.wait(timeout=30) == exit_code
    assert operator.living() == []
    assert operator.status() == {"running": False}


def up_reports_that_its_supervisor_was_killed(
    operator: Operator, foreground: subprocess.Popen[str]
) -> None:
    operator.kill_supervisor()
    assert read_until("supervisor was killed", foreground)
    assert foreground.wait(timeout=30) == 1
    assert operator.living() == []


def test_the_first_start_interrupted_leaves_nothing(operator: Operator) -> None:
    with up_in_foreground(operator, until="PostgreSQL's files") as foreground:
        # Else it may be ready before the second one has failed.
        foreground.send_signal(signal.SIGSTOP)
        with an_operator() as second:
            port_taken = second.call("up", "--detach", "--port", str(operator.port))
        foreground.send_signal(signal.SIGCONT)
        assert port_taken.returncode == 1
        taken = f"Cannot listen on 127.0.0.1 port {operator.port}: Address already in use"
        assert taken in port_taken.stderr
        assert port_taken.stderr.count("\n") == 1
        a_signal_stops_everything(operator, foreground, signal.SIGINT, exit_code=1)
