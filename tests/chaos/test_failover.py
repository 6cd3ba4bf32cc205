"""When the database's machine is lost and the standby takes over, every promise holds."""

from collections.abc import Iterator

import pytest

from tests.chaos.catalogue import FAILOVERS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system_with_standby import SystemWithStandby, a_system_with_standby


@pytest.fixture(scope="module")
def system() -> Iterator[SystemWithStandby]:
    with a_system_with_standby() as system:
        yield system


@pytest.mark.parametrize("fault", FAILOVERS)
def test_a_standby_may_take_over_at_any_time(system: SystemWithStandby, fault: type[Fault]) -> None:
    survives(system, fault)


@pytest.mark.parametrize("command", [["migrate"], ["token", "ada"], ["audit"], ["status"]])
def test_an_operators_command_finds_the_server_that_serves(
    system: SystemWithStandby, command: list[str]
) -> None:
    told = system.operator.run(*command)
    assert told.returncode == 0, told.stdout + told.stderr
