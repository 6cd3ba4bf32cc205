"""Whatever befalls Redis and the hints in it, every promise holds, and sales go on."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["redis"] + FAULTS["hints"])
def test_sales_go_on_whatever_befalls_redis(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
