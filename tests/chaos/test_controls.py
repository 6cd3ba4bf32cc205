"""Versions that are broken on purpose are caught: otherwise the other tests here prove nothing."""

import random

import pytest

from tests.chaos.catalogue import CONTROLS
from tests.chaos.conftest import SEED
from tests.chaos.control import Control
from tests.chaos.faults.fault import Fault
from tests.chaos.round import caught_in_round
from tests.chaos.system import a_system


@pytest.mark.parametrize(
    ("control", "fault"), CONTROLS, ids=[control.name for control, _ in CONTROLS]
)
@pytest.mark.timeout(300)  # twenty rounds, should it come to that
def test_what_is_broken_on_purpose_is_caught(control: Control, fault: type[Fault]) -> None:
    with a_system(control) as system:
        caught = caught_in_round(system, fault(system), random.Random(SEED))
    assert caught.violations
