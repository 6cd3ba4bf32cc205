"""Whether a round of payments finds the buyer who paid for nothing."""

import pytest

from tests.chaos.payments import GIVEN_BACK, KEPT, check_payments, reference

PAID, OTHER = reference("a"), reference("b")


@pytest.mark.parametrize(
    ("told", "kind", "paid_by"), [(KEPT, KEPT, PAID), ("expired", GIVEN_BACK, None)]
)
def test_sold_or_told_to_give_back(told: str, kind: str, paid_by: str | None) -> None:
    assert not check_payments({"a": {told}}, {"a": (kind, paid_by)})


@pytest.mark.parametrize(
    ("told", "kind", "paid_by"),
    [
        (set(), KEPT, PAID),  # nobody heard of it
        (set(), "expired", None),
        ({KEPT}, "expired", None),  # charged for nothing
        ({GIVEN_BACK}, KEPT, PAID),  # a ticket for nothing
        ({KEPT, GIVEN_BACK}, KEPT, PAID),
        ({KEPT}, KEPT, OTHER),
        ({GIVEN_BACK}, "held", None),  # nobody ended it
        ({"409 not_held"}, "rejected", None),
    ],
)
def test_anything_else_is_a_violation(told: set[str], kind: str, paid_by: str | None) -> None:
    assert check_payments({"a": told}, {"a": (kind, paid_by)})


def test_a_purchase_without_a_row_is_a_violation() -> None:
    assert check_payments({"a": {KEPT}}, {})
