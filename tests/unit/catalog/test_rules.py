"""The catalog's rules, without any I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.events.routes import TIMES
from catalog.rules import check_order
from catalog.ticket_types.rules import (
    MAX_CAPACITY,
    MAX_INT4,
    SALE_WINDOW,
    Stock,
    issued_after_change,
    issued_for_capacity,
    price,
)
from shared.errors import InvalidInput

NOON = datetime(2027, 6, 5, 12, tzinfo=UTC)


@given(cents=st.integers(0, 999_999_999_999))
def test_a_price_is_a_decimal_string(cents: int) -> None:
    exact = Decimal(cents) / 100
    assert price(f"{exact:.2f}") == exact


@pytest.mark.parametrize(
    "value",
    [
        *(True, None, [], "", " 1", "1.", ".5", "+1", "1,5", "-1", "1e2", "\uff11"),
        *(19.99, 100, Decimal(1)),
    ],
)
def test_other_values_are_not_prices(value: object) -> None:
    with pytest.raises(ValueError, match="Must"):
        price(value)


def test_a_price_with_a_comma_is_answered_with_an_example() -> None:
    with pytest.raises(ValueError, match=r'such as "100\.00"'):
        price("12,50")


@pytest.mark.parametrize("names", [TIMES, SALE_WINDOW])
def test_the_end_is_after_the_start(names: tuple[str, str]) -> None:
    later = NOON + timedelta(microseconds=1)
    for start, end in ((None, None), (NOON, None), (None, NOON), (NOON, later)):
        check_order(names, start, end)
    for end in (NOON, NOON - timedelta(days=1)):
        with pytest.raises(InvalidInput) as error:
            check_order(names, NOON, end)
        assert error.value.errors == {names[1]: [f"Must be after {names[0]}."]}


counts = st.integers(0, MAX_CAPACITY // 3)
stocks = st.builds(lambda left, *taken: Stock(left + sum(taken), *taken), counts, counts, counts)


@given(stock=stocks, capacity=st.integers(0, MAX_CAPACITY))
def test_a_capacity_that_is_set_is_what_is_left(stock: Stock, capacity: int) -> None:
    assert replace(stock, issued=issued_for_capacity(stock, capacity)).left == capacity


def test_a_capacity_is_invalid_where_the_count_of_issued_tickets_would_overflow() -> None:
    stock = Stock(issued=MAX_INT4, held=3, sold=MAX_INT4 - 8)
    assert issued_for_capacity(stock, 5) == MAX_INT4
    with pytest.raises(InvalidInput):
        issued_for_capacity(stock, 6)


@given(stock=stocks, change=st.integers(-2 * MAX_CAPACITY, 2 * MAX_CAPACITY))
def test_a_change_moves_what_is_left_or_is_invalid(stock: Stock, change: int) -> None:
    if change != 0 and 0 <= stock.left + change <= MAX_CAPACITY:
        after = replace(stock, issued=issued_after_change(stock, change))
        assert after.left == stock.left + change
    else:
        with pytest.raises(InvalidInput) as error:
            issued_after_change(stock, change)
        assert list(error.value.errors or ()) == ["change"]


def test_tickets_that_came_back_beyond_the_largest_capacity_can_be_withdrawn() -> None:
    stock = Stock(issued=MAX_CAPACITY + 4, held=0, sold=1)
    assert issued_after_change(stock, -2) == MAX_CAPACITY + 2
    with pytest.raises(InvalidInput) as error:
        issued_after_change(stock, 1)
    assert error.value.errors == {"change": ["Must be at most 0."]}
