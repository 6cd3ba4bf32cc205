"""RabbitMQ carries the wake-ups, chosen by EVENTIFY_BROKER_URL alone."""

import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from shared.config.settings import Settings
from shared.messaging.celery_client import PURCHASES_QUEUE, make_celery, send_wakeup
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Effect, Fault
from tests.chaos.system import System
from tests.environments.engines.rabbitmq import RabbitMQ, a_rabbitmq, missing
from tests.environments.engines.selling import seconds_to_decision
from tests.environments.engines.systems import a_system_on
from tests.integration.purchase_worker.test_health import is_healthy, is_unhealthy, stays_healthy
from tests.support.services import running_service
from tests.support.waiting import eventually

OWN_QUEUE = f"{PURCHASES_QUEUE}.self-check."
SWEEPER_SECONDS = Settings.model_fields["sweep_after_seconds"].default


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    if missing():
        pytest.skip(missing())
    with a_rabbitmq() as server:
        yield server


@pytest.fixture(scope="module")
def system(rabbitmq: RabbitMQ) -> Iterator[System]:
    with a_system_on(lambda _: nullcontext({"EVENTIFY_BROKER_URL": rabbitmq.url})) as system:
        system.rabbitmq = rabbitmq
        yield system


class _RabbitMQFault(Fault):
    # The sweeper takes what is a second old: so there is time for a purchase to be decided.
    hold_seconds = 5.0
    effect = Effect.GOES_ON

    def heal(self) -> None:
        self.system.rabbitmq.thaw()
        self.system.rabbitmq.start()


class RabbitMQKilled(_RabbitMQFault):
    """kill -9 of its machine; comes back with what it had confirmed."""

    def strike(self) -> None:
        self.system.rabbitmq.kill()
        self.strikes += 1


class RabbitMQStopped(_RabbitMQFault):
    """As for an upgrade."""

    def strike(self) -> None:
        self.system.rabbitmq.end(signal.SIGTERM)
        self.strikes += 1


class RabbitMQFrozen(_RabbitMQFault):
    """SIGSTOP: connections stay open, and nothing is answered."""

    hold_seconds = 12.0

    def strike(self) -> None:
        self.system.rabbitmq.freeze()
        self.strikes += 1


def test_wakeups_bring_decisions_long_before_the_sweeper(system: System) -> None:
    seconds = [seconds_to_decision(system) for _ in range(20)]
    assert statistics.median(seconds) < SWEEPER_SECONDS / 4, seconds


def test_wakeups_are_kept_in_a_bounded_quorum_queue_and_each_worker_has_one_that_goes_with_it(
    system: System,
) -> None:
    seconds_to_decision(system)
    listed = system.rabbitmq.control("list_queues", "name", "type", "arguments")
    lines = [line.split("\t") for line in listed.splitlines()]
    own = [line for line in lines if line[0].startswith(OWN_QUEUE)]
    assert {kind for _, kind, _ in own} == {"classic"}
    ((name, kind, arguments),) = [line for line in lines if line not in own]
    assert (name, kind) == (PURCHASES_QUEUE, "quorum")
    assert "x-max-length" in arguments
    assert "x-message-ttl" in arguments


def test_a_wakeup_that_rabbitmq_does_not_take_costs_the_sender_seconds(system: System) -> None:
    settings = Settings(database_url="postgresql://db/x", broker_url=system.rabbitmq.url)
    with make_celery(settings) as celery:
        send_wakeup(celery, [1])
        system.rabbitmq.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(Exception, match="timed out"):
                send_wakeup(celery, [1])
            assert time.monotonic() - began < 8
        finally:
            system.rabbitmq.thaw()
        send_wakeup(celery, [1])


@pytest.mark.parametrize("fault", [RabbitMQStopped, RabbitMQKilled, RabbitMQFrozen])
def test_sales_go_on_and_workers_come_back_whatever_befalls_rabbitmq(
    system: System, fault: type[Fault]
) -> None:
    survives(system, fault)


def test_a_stalled_consumer_is_unhealthy_and_a_worker_without_rabbitmq_is_healthy(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    settings = Settings(
        database_url="postgresql://db/x",
        broker_url=rabbitmq.url,
        heartbeat_dir=str(tmp_path),
        self_check_seconds=0.2,
        consumer_stalled_after_seconds=2.0,
    )
    with running_service("tests.support.stalled_worker", settings) as worker:
        eventually(is_healthy(settings, "worker"))
        rabbitmq.freeze()
        try:
            stays_healthy(settings, "worker", 8)
        finally:
            rabbitmq.thaw()
        stays_healthy(settings, "worker", 4)
        worker.send_signal(signal.SIGUSR1)
        eventually(is_unhealthy(settings, "worker", "takes no message"))
