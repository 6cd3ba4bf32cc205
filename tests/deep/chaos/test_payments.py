"""No payment is left without a ticket or a refund, whatever fails between its steps."""

import random
from functools import partial

import pytest

from tests.chaos.catalogue import PAYMENT_CONTROLS, PAYMENTS_IN_TEST_DEEP
from tests.chaos.conftest import SEED, payments_survive
from tests.chaos.faults.fault import Fault
from tests.chaos.payments import GIVEN_BACK, KEPT, PAYMENT_PROMISE, hold_race
from tests.chaos.round import caught_in_round
from tests.chaos.system import System, a_system

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("fault", PAYMENTS_IN_TEST_DEEP)
def test_no_payment_is_left_without_ticket_or_word(system: System, fault: type[Fault]) -> None:
    result = payments_survive(system, fault)
    assert set(result.fates) == {KEPT, GIVEN_BACK}, "there was no race"


def test_a_payment_of_an_expired_hold_that_is_taken_is_caught() -> None:
    """`make chaos ARGS=--controls` has the others."""
    control, fault = next(each for each in PAYMENT_CONTROLS if each[0].name == "expired_is_paid")
    with a_system(control) as system:
        chance, hold = random.Random(SEED), partial(hold_race, races=20)
        caught = caught_in_round(system, fault(system), chance, hold)
    assert {violation.promise for violation in caught.violations} == {PAYMENT_PROMISE}
