"""kill -9 at the moments that matter, and a clock that is wrong: every promise holds."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["failpoints"] + FAULTS["clock"])
def test_no_moment_is_a_bad_one(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
