"""What runs when somebody says `docker compose up`: a sale, its faults, and what is shut."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.chaos.buyers import Buyer
from tests.chaos.history import Fate, History
from tests.environments.compose.engine import Failed
from tests.environments.compose.project import ComposeProject
from tests.support.waiting import eventually
from tests.system.selling import TICKET_TYPES, put_on_sale

# The first run makes a Debian and every image.
pytestmark = pytest.mark.timeout(1_200)

OURS = (
    *("gateway-1", "gateway-2", "catalog-1", "worker-1", "worker-2", "sweeper-1", "sender-1"),
    "auditor-1",
)
THEIRS = ("postgres-1", "valkey-1")
CAPACITY = 400
BUYERS = 12
# A killed container is back within seconds; on a busy machine within many.
BACK_SECONDS = 60.0
SALE_SECONDS = 12.0
KILL_AFTER_SECONDS = 4.0


def tokens(stack: ComposeProject, name: str, count: int) -> list[str]:
    return stack.execute("gateway-1", "eventify", "token", name, "--count", str(count)).split()


def organiser(stack: ComposeProject) -> httpx.Client:
    token = tokens(stack, "organiser", 1)[0]
    return httpx.Client(
        base_url=stack.gateway_url(2), headers={"Authorization": f"Bearer {token}"}, timeout=30
    )


def audit(stack: ComposeProject) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(stack.execute("worker-1", "eventify", "audit", "--json"))
    return report


def kill(stack: ComposeProject, *names: str) -> None:
    """End their first process as a crash does; the engine is not told that it was meant."""
    containers = stack.containers()
    for name in names:
        os.kill(containers[name]["State"]["Pid"], signal.SIGKILL)


async def rush(urls: list[str], tokens: list[str], ticket_type: int, kill_some: Any) -> History:
    """Buyers at every door, some processes killed among them; all is known at the end."""
    history, over = History(), asyncio.Event()
    buyers = [
        Buyer(urls, number, token, history, random.Random(number))
        for number, token in enumerate(tokens)
    ]
    buying = [asyncio.create_task(buyer.buy_until(over, [[ticket_type]])) for buyer in buyers]
    await asyncio.sleep(KILL_AFTER_SECONDS)
    await asyncio.to_thread(kill_some)
    await asyncio.sleep(SALE_SECONDS - KILL_AFTER_SECONDS)
    over.set()
    await asyncio.gather(*buying)
    deadline = time.monotonic() + BACK_SECONDS
    await asyncio.gather(*(buyer.find_out(deadline) for buyer in buyers))
    last_heard = Counter((a.user_id, a.status) for a in history.attempts[-100:])
    assert all(buyer.knows_all for buyer in buyers), last_heard
    for buyer in buyers:
        buyer.close()
    return history


def test_a_sale_survives_the_death_of_a_worker_and_of_a_gateway(stack: ComposeProject) -> None:
    with organiser(stack) as seller:
        ticket_type = put_on_sale(seller, CAPACITY, max_per_purchase=10)
        urls = [stack.gateway_url(1), stack.gateway_url(2)]
        crowd = tokens(stack, "buyer", BUYERS)

        history = asyncio.run(
            rush(urls, crowd, ticket_type, lambda: kill(stack, "worker-1", "gateway-1"))
        )

        asked = {
            attempt.purchase_id: sum(quantity for _ticket_type, quantity in attempt.lines)
            for attempt in history.attempts
            if attempt.purchase_id
        }
        outcomes = {seen.purchase_id: seen.outcome.status for seen in history.sightings}
        assert outcomes.keys() == asked.keys()
        reported = sum(asked[id_] for id_, status in outcomes.items() if status == "confirmed")
        assert seller.get(f"{TICKET_TYPES}{ticket_type}/").json()["sold"] == reported
    assert 0 < reported <= CAPACITY
    # It was a fault that buyers noticed, and both are back without anybody's help.
    assert any(attempt.fate is Fate.UNKNOWN for attempt in history.attempts)
    containers = stack.containers()
    for name in ("worker-1", "gateway-1"):
        assert containers[name]["RestartCount"] == 1
        assert containers[name]["State"]["Running"]
    eventually(
        lambda: httpx.get(f"{urls[0]}/readyz").raise_for_status(),
        retry_on=httpx.HTTPError,
        within_seconds=BACK_SECONDS,
    )
    assert audit(stack)["ok"]


@pytest.mark.parametrize("name", OURS + THEIRS)
def test_a_container_has_no_rights_and_a_root_that_cannot_be_written(
    stack: ComposeProject, name: str
) -> None:
    # The catalog, which alone reads the signing key, is a user of its own.
    ours = 10002 if name == "catalog-1" else 10001
    assert int(stack.execute(name, "id", "--user")) == (ours if name in OURS else 999)
    with pytest.raises(Failed, match="Read-only file system"):
        stack.execute(name, "touch", "/here")
    status = stack.execute(name, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_every_container_has_limits(stack: ComposeProject) -> None:
    for name, container in stack.containers().items():
        host = container["HostConfig"]
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0 or host["CpuQuota"] > 0, name
        assert host["PidsLimit"] > 0, name


def test_no_secret_is_shown_by_inspect_or_told_in_a_log(stack: ComposeProject) -> None:
    passwords = [
        (stack.secrets / f"{of}_password").read_text().strip() for of in ("postgres", "valkey")
    ]
    assert all(len(password) == 48 for password in passwords)

    for name, container in stack.containers().items():
        inspected, logs = json.dumps(container), stack.logs(name)
        for password in passwords:
            assert password not in inspected, name
            assert password not in logs, name
    # Neither does a look at the processes, which every user of the host may have.
    for name in ("valkey-1", "postgres-1", "gateway-1"):
        assert passwords[1] not in stack.execute(name, "cat", "/proc/1/cmdline", "/proc/1/environ")


def test_only_the_gateway_can_be_reached_from_outside(stack: ComposeProject) -> None:
    for name, container in stack.containers().items():
        ports = container["HostConfig"]["PortBindings"].values()
        bound = [one for many in ports for one in many or []]
        if name.startswith("gateway"):
            assert [one["HostIp"] for one in bound] == ["127.0.0.1"]
        else:
            assert bound == [], name


def test_the_services_have_no_way_out(stack: ComposeProject) -> None:
    routes = stack.execute("worker-1", "cat", "/proc/net/route")
    destinations = [line.split()[1] for line in routes.splitlines()[1:]]
    assert destinations
    assert "00000000" not in destinations  # there is no default route


def test_an_upgrade_migrates_beside_the_services_and_loses_nothing(stack: ComposeProject) -> None:
    """The commands of docs/compose.md after the build."""
    with organiser(stack) as seller:
        ticket_type = put_on_sale(seller, CAPACITY)
        token = seller.headers["Authorization"]
    before = {name: one["State"]["StartedAt"] for name, one in stack.containers().items()}

    stack.compose("run", "--rm", "--no-deps", "--no-TTY", "migrate")
    assert before == {name: one["State"]["StartedAt"] for name, one in stack.containers().items()}

    stack.up("--scale", "gateway=2", "--scale", "worker=2")

    migrated = stack.containers()["migrate-1"]["State"]
    assert migrated["ExitCode"] == 0
    assert migrated["StartedAt"] > before["migrate-1"]
    # The rows are there, and the keys: the same token opens the door.
    kept = httpx.get(
        f"{stack.gateway_url(1)}{TICKET_TYPES}{ticket_type}/", headers={"Authorization": token}
    )
    assert kept.json()["capacity"] == CAPACITY


def test_a_backup_needs_no_password_inside_and_the_network_does(stack: ComposeProject) -> None:
    dump = stack.execute("postgres-1", "pg_dump", "--username=eventify", "eventify")
    assert "COPY public.ledger" in dump

    by_network = "postgresql://eventify@postgres/eventify"
    with pytest.raises(Failed, match="no password supplied"):
        stack.execute("postgres-1", "psql", "--no-password", by_network, "--command=SELECT 1")


def test_prometheus_reads_the_metrics_of_every_replica(stack: ComposeProject) -> None:
    stack.up("prometheus")
    prometheus = stack.published("prometheus", 9090)

    def all_are_read() -> None:
        found = httpx.get(f"{prometheus}/api/v1/targets").raise_for_status().json()["data"]
        targets = [(one["labels"]["job"], one["health"]) for one in found["activeTargets"]]
        expected = ["catalog", "gateway", "gateway", "sender", "sweeper", "worker", "worker"]
        assert sorted(targets) == [(f"eventify-{job}", "up") for job in expected]

    eventually(all_are_read, retry_on=(AssertionError, httpx.HTTPError), within_seconds=60)


def test_a_rehearsal_runs_from_the_image_of_the_load_test(stack: ComposeProject) -> None:
    reported = stack.compose(
        *("--profile", "loadtest", "run", "--rm", "--no-deps", "locust-master"),
        *("--headless", "--host", "http://gateway:8000", "--users", "5", "--spike-users", "20"),
        *("--quiet-seconds", "1", "--run-time", "8s", "--event-capacity", "50"),
    )

    assert "Verdict: good (exit code 0)" in reported, reported
