"""kill -9 at the moments that matter: every promise holds."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["failpoints"])
def test_whoever_dies_at_the_worst_moment_harms_nobody(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
