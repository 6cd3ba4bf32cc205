"""No payment is left without a ticket or a refund, whatever fails between its steps."""

import random

import pytest

from tests.chaos.catalogue import PAYMENT_CONTROLS, PAYMENTS_IN_TEST_DEEP
from tests.chaos.conftest import SEED, payments_survive
from tests.chaos.faults.fault import Fault
from tests.chaos.payments import GIVEN_BACK, KEPT, PAYMENT_PROMISE, hold_race
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
        caught = hold_race(system, [fault(system)], random.Random(SEED), races=20)
    assert {violation.promise for violation in caught.violations} == {PAYMENT_PROMISE}
