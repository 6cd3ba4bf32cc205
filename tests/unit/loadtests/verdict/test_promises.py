"""What buyers saw, compared with the rows."""

import pytest
from msgspec.structs import replace

from loadtests.answers import Line
from loadtests.recording.observations import ACCEPTED, REFUSED, Seen, seen_in
from loadtests.verdict.promises import (
    Broken,
    Promise,
    PurchaseRow,
    TicketTypeCounters,
    broken_by_counters,
    broken_by_purchases,
)

DECIDED_AT = "2026-11-22T12:00:00.123456Z"
CONFIRMED = b"""{"id": "p1", "ticket_type": 7, "event": 1, "quantity": 2, "unit_price": "50.00",
    "total_price": "100.00", "items": [{"ticket_type": 7, "quantity": 2, "unit_price": "50.00",
    "total_price": "100.00"}], "currency": "EUR", "status": "confirmed", "reason": null,
    "created_at": "2026-11-22T12:00:00.000000Z", "decided_at": "2026-11-22T12:00:00.123456Z"}"""
REJECTED = b"""{"type": "/api/docs/errors/","title": "Bad Request", "status": 400, "id": "p1",
    "detail": "Not enough tickets available", "code": "not_enough_tickets"}"""


def a_row(
    status: str = "confirmed", reason: str | None = None, quantity: int = 2, id_: str = "p1"
) -> PurchaseRow:
    decided_at = None if status == "queued" else DECIDED_AT
    items = [Line(7, quantity)]
    return PurchaseRow(id_, [status], reason, 7, quantity, items, f"{50 * quantity}.00", decided_at)


CART = b"""{"id": "p1", "ticket_type": null, "event": 1, "quantity": null, "unit_price": null,
    "total_price": "250.00", "items": [
        {"ticket_type": 7, "quantity": 2, "unit_price": "50.00", "total_price": "100.00"},
        {"ticket_type": 8, "quantity": 3, "unit_price": "50.00", "total_price": "150.00"}],
    "currency": "EUR", "status": "confirmed", "reason": null,
    "created_at": "2026-11-22T12:00:00.000000Z", "decided_at": "2026-11-22T12:00:00.123456Z"}"""
CART_ROW = PurchaseRow(
    "p1", ["confirmed"], None, None, None, [Line(7, 2), Line(8, 3)], "250.00", DECIDED_AT
)


def broken(seen: Seen, *rows: PurchaseRow) -> list[Broken]:
    return list(broken_by_purchases([seen], {row.id: row for row in rows}))


def test_answers_that_agree_with_their_rows_break_nothing() -> None:
    assert broken(Seen(id="p1", status=ACCEPTED), a_row()) == []
    assert broken(seen_in("p1", CONFIRMED), a_row()) == []
    assert broken(seen_in("p1", CART), CART_ROW) == []
    assert broken(seen_in("p1", REJECTED), a_row("rejected", "not_enough_tickets")) == []


@pytest.mark.parametrize(
    ("body", "row", "difference"),
    [
        (CONFIRMED, a_row("rejected", "not_enough_tickets"), "answered status confirmed"),
        (REJECTED, a_row("confirmed"), "answered status rejected"),
        (REJECTED, a_row("rejected", "over_user_limit"), "answered reason not_enough_tickets"),
        (CONFIRMED, a_row(quantity=3), "answered quantity 2, the row has 3"),
        (CONFIRMED.replace(b"123456", b"123457"), a_row(), "answered decided_at"),
        (CONFIRMED.replace(b'"p1"', b'"p2"'), a_row(), "the answer was about p2"),
        (CONFIRMED, a_row("queued"), "the row has ['queued']"),
        (CONFIRMED, a_row("held"), "the row has ['held']"),
        (CART, replace(CART_ROW, items=[Line(7, 2), Line(8, 1)]), "answered items"),
        (CART, a_row(), "answered items"),
    ],
)
def test_an_outcome_that_differs_from_its_row_is_found(
    body: bytes, row: PurchaseRow, difference: str
) -> None:
    (violation,) = broken(seen_in("p1", body), row)
    assert violation.promise is Promise.ONE_OUTCOME
    assert difference in violation.detail


@pytest.mark.parametrize(
    ("counted", "added_up", "oversold"),
    [
        ((4, 6), (4, 6), False),
        ((0, 11), (0, 10), True),
        ((0, 10), (0, 11), True),
        ((5, 6), (4, 6), True),
        ((4, 6), (5, 6), True),
    ],
)
def test_more_held_and_sold_than_issued_is_oversold(
    counted: tuple[int, int], added_up: tuple[int, int], oversold: bool
) -> None:
    found = list(broken_by_counters([TicketTypeCounters(7, 10, *counted, *added_up)]))
    assert [violation.promise for violation in found] == [Promise.NEVER_OVERSOLD] * oversold


PAID = replace(a_row(), statuses=["held", "confirmed"], payment_reference="pay_1")
EXPIRED = replace(a_row(), statuses=["held", "expired"])
HELD_SEEN = Seen(id="p1", status="held")
PAID_SEEN = Seen(id="p1", status="confirmed", payment_reference="pay_1")
TOO_LATE_SEEN = Seen(id="p1", status=REFUSED, payment_reference="pay_1")


@pytest.mark.parametrize(
    ("seen", "row"),
    [
        (HELD_SEEN, PAID),
        (HELD_SEEN, EXPIRED),
        (PAID_SEEN, PAID),
        (TOO_LATE_SEEN, EXPIRED),
        (TOO_LATE_SEEN, replace(PAID, payment_reference="pay_2")),
    ],
)
def test_a_hold_may_be_seen_before_its_end_and_a_payment_has_one_outcome(
    seen: Seen, row: PurchaseRow
) -> None:
    assert not broken(seen, row)


@pytest.mark.parametrize(
    ("seen", "row", "promise"),
    [
        (HELD_SEEN, a_row("confirmed"), Promise.ONE_OUTCOME),
        (PAID_SEEN, EXPIRED, Promise.PAYMENTS),
        (PAID_SEEN, replace(PAID, payment_reference="pay_2"), Promise.PAYMENTS),
        (TOO_LATE_SEEN, PAID, Promise.PAYMENTS),
    ],
)
def test_a_payment_without_ticket_or_word_is_found(
    seen: Seen, row: PurchaseRow, promise: Promise
) -> None:
    (violation,) = broken(seen, row)
    assert violation.promise is promise
