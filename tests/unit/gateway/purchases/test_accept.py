"""Why lines were refused, as one problem."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.purchases.accept import (
    LineRefusal,
    problem_of,
    problem_of_request,
)
from shared.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    NotEnoughTickets,
    Problem,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    TokenNotValid,
)
from shared.purchases import Short
from shared.web.problem_details import problem_document

BY_FIELD = ("unknown_ticket_type", "other_event", "over_purchase_limit")
# Of the database, whatever the gateway's clock says.
NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
IN_PRECEDENCE = ("sale_closed", "sale_not_open", "sale_paused", "not_enough_tickets")


def refusal(line: int, code: str, *, opens_in: timedelta = timedelta(hours=1)) -> LineRefusal:
    return LineRefusal(
        line,
        code,
        ticket_type_id=line + 1,
        quantity=5,
        max_per_purchase=4,
        sales_start=NOW + opens_in,
        left=line,
    )


def test_what_the_request_can_change_is_reported_of_all_lines_by_field() -> None:
    refusals = [refusal(n, code) for n, code in enumerate((*BY_FIELD, *IN_PRECEDENCE))]
    problem = problem_of(refusals, NOW, as_items=True)
    assert isinstance(problem, InvalidInput)
    assert problem.errors == {
        "items.0.ticket_type": ["There is no ticket type 1."],
        "items.1.ticket_type": ["All ticket types of a purchase must belong to one event."],
        "items.2.quantity": ["Must be at most 4."],
    }


@pytest.mark.parametrize("last", range(len(IN_PRECEDENCE)))
def test_the_sale_that_stays_closed_longest_is_the_answer(last: int) -> None:
    expected = (SaleClosed, SaleNotOpen, SalePaused, NotEnoughTickets)[last]
    lines = [refusal(n, code) for n, code in enumerate(reversed(IN_PRECEDENCE[last:]))]
    for refusals in (lines, lines[::-1]):
        assert type(problem_of(refusals, NOW, as_items=True)) is expected


def test_a_cart_waits_for_the_last_of_its_sales_to_open() -> None:
    refusals = [
        refusal(n, "sale_not_open", opens_in=timedelta(minutes=minutes))
        for n, minutes in enumerate((5, 20, 10))
    ]
    refusals.append(refusal(3, "sale_paused", opens_in=timedelta(minutes=40)))
    problem = problem_of(refusals, NOW, as_items=True)
    assert problem.headers["Retry-After"] == "1200"


def test_all_lines_that_are_short_are_named() -> None:
    refusals = [refusal(0, "not_enough_tickets"), refusal(3, "not_enough_tickets")]
    document = problem_document(problem_of(refusals, NOW, as_items=True))
    assert document["short"] == [Short(1, 5, 0), Short(4, 5, 3)]


@pytest.mark.parametrize(
    ("code", "expected"), [("unknown_user", TokenNotValid), ("key_reused", IdempotencyKeyReused)]
)
def test_a_refusal_may_be_of_the_whole_request(code: str, expected: type[Problem]) -> None:
    assert type(problem_of_request(code)) is expected
