"""Slow, cut, silent or one-way lines between the parts: every promise holds."""

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System


@pytest.mark.parametrize("fault", FAULTS["network"])
def test_no_line_has_to_be_good(system: System, fault: type[Fault]) -> None:
    survives(system, fault)
