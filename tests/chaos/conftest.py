"""A system for each file of tests, here and in tests/deep/chaos, and the round to survive."""

import random
from collections.abc import Iterator

import pytest

from tests.chaos.faults.fault import Fault
from tests.chaos.payments import Result, Subject, hold_race
from tests.chaos.round import hold_round
from tests.chaos.system import System, a_system

# Two tests run beside these, on two cores or fewer. `make chaos` has the machine for itself, and
# asks for recovery within the ten seconds that were promised.
BESIDE_OTHER_TESTS_SECONDS = 30.0
# `make chaos` draws others; these rounds are the same every time, as far as buyers decide.
SEED = 6


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system() as system:
        yield system


def survives(system: System, *faults: type[Fault]) -> None:
    """A round with these faults, which must really strike, breaks no promise."""
    for fault in faults:
        if fault.needs:
            pytest.skip(f"{fault.__name__} needs {fault.needs}")
    result = hold_round(
        system,
        [fault(system) for fault in faults],
        random.Random(SEED),
        recovers_within_seconds=BESIDE_OTHER_TESTS_SECONDS,
    )
    assert not result.violations
    assert all(result.strikes), result


def payments_survive(system: Subject, fault: type[Fault]) -> Result:
    """Payments race against the ends of their holds while this fault strikes; returns the race."""
    result = hold_race(
        system,
        [fault(system)],
        random.Random(SEED),
        races=40,
        recovers_within_seconds=BESIDE_OTHER_TESTS_SECONDS,
    )
    assert not result.violations
    assert all(result.strikes), result
    return result
