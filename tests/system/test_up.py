"""A system on one machine, from its first start: the real supervisor, servers and services."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from deploy.local.leftovers import is_running
from deploy.local.servers.embedded import UNPRIVILEGED_USER, run_as
from shared.free_port import free_port
from tests.support.processes import killed_at_last
from tests.support.services import stop_signals_refused
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_problem
from tests.system.operators import PROJECT, WITH_TWO_GATEWAYS, Operator, an_operator
from tests.system.selling import buy, put_on_sale

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
    gateway_is_ready(operator)
    assert httpx.get(f"{report['catalog_url']}/readyz").status_code == 200


def down_leaves_nothing(operator: Operator) -> None:
    operator.stop()
    again = operator.run("down")
    assert again.returncode == 0
    assert "Nothing is running" in again.stdout


def gateway_is_ready(operator: Operator) -> None:
    assert httpx.get(f"{operator.url}/readyz").status_code == 200


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
    gateway_is_ready(operator)


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
