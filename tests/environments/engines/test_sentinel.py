"""Sentinels name the Redis primary: EVENTIFY_REDIS_URL alone chooses them."""

import signal
import statistics
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import redis

from shared.config.settings import Settings
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Effect, Fault
from tests.chaos.system import System
from tests.environments.engines.selling import seconds_to_decision
from tests.environments.engines.sentinels import Watched, watched
from tests.environments.engines.systems import a_system_on

SWEEPER_SECONDS = Settings.model_fields["sweep_after_seconds"].default


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Watched]:
    with watched() as servers:
        yield servers


@pytest.fixture(scope="module")
def system(sentinels: Watched) -> Iterator[System]:
    choice = {"EVENTIFY_REDIS_URL": sentinels.service_url}
    with a_system_on(lambda _: nullcontext(choice), sentinels) as system:
        yield system


class _Failover(Fault):
    """Healed when the replica has taken over; what was lost comes back before the next one."""

    # The sweeper takes what is a second old: so there is time for a purchase to be decided.
    hold_seconds = 3.5
    effect = Effect.GOES_ON
    signal_number: signal.Signals

    def strike(self) -> None:
        self.system.valkey.make_whole()
        self.system.valkey.strike(self.signal_number)
        self.strikes += 1

    def heal(self) -> None:
        self.system.valkey.wait_for_failover()


class PrimaryKilled(_Failover):
    """kill -9."""

    signal_number = signal.SIGKILL


class PrimaryFrozen(_Failover):
    """SIGSTOP: connections stay open, and nothing is answered."""

    signal_number = signal.SIGSTOP


class PrimaryAndSentinelKilled(_Failover):
    """The sentinel that is named first is gone with the primary, as when they share a machine."""

    signal_number = signal.SIGKILL

    def strike(self) -> None:
        self.system.valkey.make_whole()
        self.system.valkey.sentinels[0].end(signal.SIGKILL)
        self.system.valkey.strike(self.signal_number)
        self.strikes += 1

    def heal(self) -> None:
        super().heal()
        self.system.valkey.sentinels[0].start()


def test_wakeups_and_results_find_the_primary(system: System) -> None:
    seconds = [seconds_to_decision(system) for _ in range(20)]
    assert statistics.median(seconds) < SWEEPER_SECONDS / 4, seconds
    with redis.Redis.from_url(system.valkey.url) as client:
        assert client.keys("eventify:*")


@pytest.mark.parametrize("fault", [PrimaryKilled, PrimaryFrozen, PrimaryAndSentinelKilled])
def test_sales_go_on_and_the_replica_takes_over_without_a_restart(
    system: System, fault: type[Fault]
) -> None:
    before = {name: process.pid for name, process in system.processes().items()}
    survives(system, fault)
    assert {name: process.pid for name, process in system.processes().items()} == before
    seconds = [seconds_to_decision(system) for _ in range(5)]
    assert statistics.median(seconds) < SWEEPER_SECONDS / 4, seconds
