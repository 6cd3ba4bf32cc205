"""Collects everything that Locust's workers know before their master ends a run.

Locust's master takes a headless run for ended before its workers stopped their users, and leaves
half a second later; what a worker had not reported by then is lost. So the master first asks them
to stop and report, and waits for their messages that they did.
"""

from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

ASK, REPORTED = "eventify_report_all", "eventify_reported_all"
# Beside the time that users get to stop in.
REPORT_SECONDS = 15.0
POLL_SECONDS = 0.05
# Locust gives a worker up after 3 s without a heartbeat. On a machine at its limit, which is what
# load tests look for, that takes longer: pyzmq looks for a missed message after 11.6 s.
HEARTBEAT_TIMEOUT_SECONDS = 20
_reported: set[str] = set()


def listen(environment: Environment, **_: Any) -> None:
    """Register the messages of this process, a master or a worker, and the longer timeout."""
    runner = environment.runner
    runners.HEARTBEAT_LIVENESS = HEARTBEAT_TIMEOUT_SECONDS // runners.HEARTBEAT_INTERVAL
    if isinstance(runner, WorkerRunner):
        # Beside its loop of messages: stopping takes as long as the slowest user.
        runner.register_message(ASK, _report_all, concurrent=True)
    elif isinstance(runner, MasterRunner):
        runner.register_message(REPORTED, lambda environment, msg: _reported.add(msg.node_id))


def collect(environment: Environment) -> set[str]:
    """On a master: have all workers stop and report; returns the names of those that did."""
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        return set()
    asked = {client.id for client in runner.clients.all if client.state != STATE_MISSING}
    _reported.clear()
    runner.send_message(ASK)
    with gevent.Timeout((environment.stop_timeout or 0) + REPORT_SECONDS, False):
        while not asked <= _reported:
            gevent.sleep(POLL_SECONDS)
    return set(_reported)


def _report_all(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    assert isinstance(runner, WorkerRunner), "only workers are asked"
    runner.stop()
    # Private, for want of a public way: Locust's own worker calls it, but only when it quits.
    runner._send_stats()
    runner.send_message(REPORTED)
