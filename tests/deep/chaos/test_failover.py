"""When the database's machine is lost and the standby takes over, every promise holds."""

from collections.abc import Iterator

import pytest

from tests.chaos.catalogue import FAILOVERS
from tests.chaos.conftest import payments_survive, survives
from tests.chaos.faults.failover import PrimaryUnreachable
from tests.chaos.faults.fault import Fault
from tests.chaos.system_with_standby import SystemWithStandby, a_system_with_standby

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def system() -> Iterator[SystemWithStandby]:
    with a_system_with_standby() as system:
        yield system


# `make chaos` tries an unreachable primary too, for which it changes the packet filter.
STRIKING = [fault for fault in FAILOVERS if fault is not PrimaryUnreachable]


@pytest.mark.parametrize("fault", STRIKING)
def test_a_standby_may_take_over_at_any_time(system: SystemWithStandby, fault: type[Fault]) -> None:
    survives(system, fault)


@pytest.mark.parametrize("fault", STRIKING)
def test_no_payment_is_left_when_a_standby_takes_over(
    system: SystemWithStandby, fault: type[Fault]
) -> None:
    payments_survive(system, fault)


@pytest.mark.parametrize("command", [["migrate"], ["token", "ada"], ["audit"], ["status"]])
def test_an_operators_command_finds_the_server_that_serves(
    system: SystemWithStandby, command: list[str]
) -> None:
    done = system.operator.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
