"""Whatever befalls PostgreSQL, every promise holds."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["postgres"])
def test_nothing_is_lost_whatever_befalls_postgresql(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
