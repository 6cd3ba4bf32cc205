"""No fault breaks a promise, alone or with another; and a broken system is caught."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.catalogue import CONTROLS, FAULTS, IN_TEST_DEEP, random_pair
from tests.chaos.conftest import SEED, survives
from tests.chaos.control import Control
from tests.chaos.faults.fault import Fault
from tests.chaos.round import caught_in_round
from tests.chaos.system import System
from tests.support.factories import run, tamper

# One at a time on one system, which each of them leaves well.
pytestmark = pytest.mark.timeout(300)
STRIKING = [fault for faults in FAULTS.values() for fault in faults if fault in IN_TEST_DEEP]
# Whose harm does not depend on chance.
NO_STATE_GUARD = next(each for each in CONTROLS if each[0].name == "no_state_guard")
# `make chaos` draws more of them than could be tried here.
_chance = random.Random(SEED)
PAIRS = [random_pair(_chance) for _ in range(2)]


@pytest.mark.parametrize("fault", STRIKING)
def test_no_fault_breaks_a_promise(system: System, fault: type[Fault]) -> None:
    survives(system, fault)


@pytest.mark.parametrize(
    "pair", PAIRS, ids=["-".join(fault.__name__ for fault in pair) for pair in PAIRS]
)
def test_two_faults_at_once_break_no_promise(system: System, pair: list[type[Fault]]) -> None:
    survives(system, *pair)


@contextmanager
def broken(system: System, control: Control) -> Iterator[None]:
    """The database lacks the control's guards until the block ends; then all sales are removed."""
    run(system.engine, control.without)
    try:
        yield
    finally:
        run(system.engine, control.without.replace("DISABLE", "ENABLE"))
        sales = "events, lanes, requests, work_list, ledger, batches"
        tamper(system.engine, f"TRUNCATE {sales} CASCADE")


def test_a_ledger_that_nothing_guards_is_caught(system: System) -> None:
    """Else the other tests here prove nothing; `make chaos ARGS=--controls` has all controls."""
    control, fault = NO_STATE_GUARD
    with broken(system, control):
        caught = caught_in_round(system, fault(system), random.Random(SEED))
    assert caught.violations
