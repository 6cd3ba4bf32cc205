"""Whatever host of a sale goes silent or dies, every promise holds, and the sale goes on."""

import random
import threading
from contextlib import closing, suppress

import psycopg2
import pytest
import redis

from shared.database.engine import cursor_transaction, open_engine
from tests.chaos.faults.fault import Fault
from tests.chaos.round import hold_round
from tests.environments.hosts import faults
from tests.environments.hosts.system import GATEWAYS, WORKERS, SystemOfHosts
from tests.support.factories import add_event, rows
from tests.support.waiting import eventually

# After a connection was given up: until others look again, or it is made anew.
STANDS_STILL_SECONDS = 2.0
LONGEST_PAUSE = """
SELECT extract(epoch FROM max(pause)) FROM (
    SELECT at - lag(at) OVER (PARTITION BY event_id ORDER BY at) FROM batches WHERE at > :since
) AS pauses (pause)
"""
LOCK = "SELECT FROM lanes WHERE event_id = %s FOR NO KEY UPDATE NOWAIT"
# Far more than sockets hold, so that PostgreSQL is still sending when its client vanishes.
MANY_ROWS = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"


def survives(system: SystemOfHosts, fault: Fault, chance: random.Random) -> None:
    """A round in which the fault really strikes breaks no promise."""
    result = hold_round(system, [fault], chance)
    assert not result.violations
    assert all(result.strikes), result


@pytest.mark.parametrize("host", ["gateway-1", "worker-1", "catalog", "valkey"])
@pytest.mark.parametrize("fault", [faults.Silence, faults.PowerLost])
def test_the_sale_goes_on_while_a_host_is_away(
    system: SystemOfHosts, chance: random.Random, fault: type[faults.HostFault], host: str
) -> None:
    survives(system, fault(system, host), chance)


@pytest.mark.parametrize(
    ("fault", "host"),
    [
        (faults.IncomingCut, "gateway-1"),
        (faults.Muteness, "worker-1"),
        (faults.Unplugged, "worker-2"),
        (faults.PacketsLost, "valkey"),
    ],
)
def test_the_sale_goes_on_while_the_network_is_bad(
    system: SystemOfHosts, chance: random.Random, fault: type[faults.HostFault], host: str
) -> None:
    if fault.needs:
        pytest.skip(f"{fault.__name__} needs {fault.needs}")
    survives(system, fault(system, host), chance)


def test_a_vanished_worker_holds_up_its_events_for_seconds_only(
    system: SystemOfHosts, chance: random.Random
) -> None:
    fault = faults.LostWithTheLock(system, "worker-1")
    (since,) = rows(system.engine, "SELECT clock_timestamp()")[0]
    survives(system, fault, chance)
    stood_still = float(rows(system.engine, LONGEST_PAUSE, since=since)[0][0])
    limit = system.settings.vanished_after_seconds + STANDS_STILL_SECONDS
    assert stood_still < limit, f"stood still for {stood_still:.1f} s"


def test_a_client_that_vanishes_while_rows_are_sent_to_it_leaves_no_lock(
    system: SystemOfHosts,
) -> None:
    event_id = add_event(system.engine)
    holds = threading.Event()

    def lock_and_read() -> None:
        with system.network.inside("worker-2"), suppress(psycopg2.OperationalError):
            engine = open_engine(system.settings, "vanishes")
            with cursor_transaction(engine) as cursor:
                cursor.execute(LOCK, (event_id,))
                holds.set()
                while True:
                    cursor.execute(MANY_ROWS)

    client = threading.Thread(target=lock_and_read)
    client.start()
    assert holds.wait(10)
    system.network.silence("worker-2")
    limit = system.settings.vanished_after_seconds + STANDS_STILL_SECONDS

    def is_free() -> None:
        with cursor_transaction(system.engine) as cursor:
            cursor.execute(LOCK, (event_id,))

    try:
        eventually(is_free, retry_on=psycopg2.errors.LockNotAvailable, within_seconds=limit)
    finally:
        client.join()
        system.network.mend("worker-2")


def test_everybody_finds_the_broker_again_that_lost_its_power(system: SystemOfHosts) -> None:
    host = system.hosts["valkey"]
    host.lose()
    host.boot()
    with closing(redis.Redis.from_url(system.valkey.url)) as client:

        def all_are_back() -> None:
            connected = client.client_list()
            taking = {of["addr"].split(":")[0] for of in connected if of["cmd"] == "brpop"}
            listening = {of["addr"].split(":")[0] for of in connected if of["sub"] != "0"}
            assert taking == {system.hosts[name].address for name in WORKERS}
            assert listening == {system.hosts[name].address for name in GATEWAYS}

        limit = system.settings.vanished_after_seconds + STANDS_STILL_SECONDS
        eventually(all_are_back, within_seconds=limit)


def test_a_silent_standby_holds_up_the_sale_and_loses_nothing(
    system: SystemOfHosts, chance: random.Random
) -> None:
    survives(system, faults.StandbySilent(system), chance)


def test_a_standby_takes_over_from_a_host_that_vanished(
    system: SystemOfHosts, chance: random.Random
) -> None:
    fault = faults.PrimaryLost(system)
    try:
        survives(system, fault, chance)
    finally:
        fault.make_whole()
