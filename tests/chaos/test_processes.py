"""Whatever process dies, stands still or is asked to stop, every promise holds."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["processes"])
def test_a_process_may_end_at_any_time(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
