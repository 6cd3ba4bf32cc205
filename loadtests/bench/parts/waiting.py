"""Thousands of clients that wait for a decision at one gateway: what they take of its memory."""

import http.client
import re
import time
from concurrent.futures import Future

import msgspec

from loadtests.bench.load.tally import LoadRun
from loadtests.bench.report.figures import Figure, at_most
from loadtests.bench.system.processes import resident_mib
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench

GATEWAY = "gateway-1"
# The longest that a gateway lets a client wait; all are there long before.
WAIT_SECONDS = 30
TARGET_CLIENTS = 10_000
CLIENTS_WAITING = re.compile(r"^eventify_clients_waiting ([0-9.e+]+)$", re.MULTILINE)
POLL_SECONDS = 0.05


def measure(bench: Bench) -> list[Figure]:
    """The gateway's resident memory before, and while all of them wait; then all are answered."""
    clients, pid = bench.sizes.waiting_clients, bench.system.pids[GATEWAY]
    (hot,) = add_ticket_types(bench.system.engine, 1)
    decisions = bench.system.decisions()
    with bench.system.deciding_suspended():
        bought = bench.buy(hot, bench.sizes.polled)
        before = resident_mib(pid)
        polls = msgspec.structs.replace(
            bench.polling_newest(f"?wait={WAIT_SECONDS}"), requests_max=clients
        )
        waiting = bench.begin_closed(bench.system.port, polls, clients, WAIT_SECONDS)
        _wait_until_waiting(bench.system.port, clients, waiting)
        during = resident_mib(pid)
    run = bench.checked(waiting.result())
    bench.system.wait_for_decisions(decisions + bought)
    if run.answered != clients:
        bench.errors.append(f"{run.answered:,} of {clients:,} waiting clients were answered")
    bench.say(f"  {before:.0f} MiB before, {during:.0f} MiB with {clients:,} waiting")
    return [
        _memory("gateway_memory_before_mib", "gateway memory before", before),
        msgspec.structs.replace(
            _memory(
                f"gateway_memory_with_{clients}_waiting_mib",
                f"gateway memory with {clients:,} waiting long-polls",
                during,
            ),
            target=at_most(250) if clients == TARGET_CLIENTS else None,
        ),
    ]


def _memory(name: str, label: str, mib: float) -> Figure:
    return Figure(name=name, label=label, unit="MiB", values=[mib])


def _wait_until_waiting(port: int, clients: int, polls: Future[LoadRun]) -> None:
    """Until the gateway itself counts this many, or their wait is over.

    Raises:
        TimeoutError: some were answered before all had come.
    """
    while _waiting_now(port) < clients:
        if polls.done():
            polls.result()
            raise TimeoutError(f"Not all {clients:,} clients were waiting at the same time.")
        time.sleep(POLL_SECONDS)


def _waiting_now(port: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        found = CLIENTS_WAITING.search(connection.getresponse().read().decode())
    finally:
        connection.close()
    assert found is not None, "the gateway exposes how many wait"
    return float(found[1])
