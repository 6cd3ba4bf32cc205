"""What is broken on purpose is caught: otherwise the other tests here prove nothing.

Here one version of it, whose harm does not depend on chance; `make chaos ARGS=--controls` has all.
"""

import random

import pytest

from tests.chaos.catalogue import CONTROLS
from tests.chaos.conftest import SEED
from tests.chaos.round import caught_in_round
from tests.chaos.system import a_system

NO_STATE_GUARD = next(each for each in CONTROLS if each[0].name == "no_state_guard")


@pytest.mark.timeout(300)  # twenty rounds, should it come to that
def test_decided_rows_that_nothing_guards_are_found_out() -> None:
    control, fault = NO_STATE_GUARD
    with a_system(control) as system:
        caught = caught_in_round(system, fault(system), random.Random(SEED))
    assert caught.violations
