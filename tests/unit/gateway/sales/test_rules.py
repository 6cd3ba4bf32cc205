"""What everybody may read of a sale at a moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.sales.rules import EventState, Sale, SaleTicketType, event_state, next_change, state_of

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SOON, LATER = NOW + SECOND, NOW + 60 * SECOND
END = NOW + timedelta(days=9)
# Of a ticket type in each state.
OF_STATE: dict[str, dict[str, Any]] = {
    "on_sale": {},
    "all_held": {"left": 0, "held": 2},
    "paused": {"paused": True},
    "not_open": {"sales_start": SOON},
    "sold_out": {"left": 0},
    "closed": {"sales_end": NOW},
}


def ticket_type(**changes: Any) -> SaleTicketType:
    fields: dict[str, Any] = {
        "id": 1,
        "name": "Seat",
        "price": "1.00",
        "sales_start": None,
        "sales_end": None,
        "max_per_purchase": 10,
        "max_per_user": None,
        "hold_seconds": None,
        "paused": False,
        "left": 5,
        "held": 0,
    }
    return SaleTicketType(**fields | changes)


def sale(*ticket_types: SaleTicketType, end_time: datetime = END) -> Sale:
    return Sale(
        event=1,
        title="Concert",
        description="",
        start_time=end_time - SECOND,
        end_time=end_time,
        currency="EUR",
        max_per_user=None,
        notice="",
        payment_url=None,
        show_left=False,
        ticket_types=ticket_types,
    )


@pytest.mark.parametrize("state", OF_STATE)
def test_each_state(state: str) -> None:
    assert state_of(ticket_type(**OF_STATE[state]), END, NOW) == state


def test_the_first_state_that_applies_counts() -> None:
    everything = {"sales_end": NOW, "sales_start": SOON, "paused": True, "left": 0, "held": 2}
    assert state_of(ticket_type(**everything), END, NOW) == "closed"
    del everything["sales_end"]
    assert state_of(ticket_type(**everything), END, NOW) == "not_open"
    del everything["sales_start"]
    assert state_of(ticket_type(**everything), END, NOW) == "paused"


def test_a_sale_opens_and_closes_at_its_very_moments() -> None:
    window = ticket_type(sales_start=SOON, sales_end=LATER)
    instant = timedelta(microseconds=1)
    assert [state_of(window, END, at) for at in (SOON - instant, SOON, LATER - instant, LATER)] == [
        "not_open",
        "on_sale",
        "on_sale",
        "closed",
    ]
    assert state_of(ticket_type(sales_end=LATER), SOON, SOON) == "closed"  # the event has ended


def test_an_event_has_the_state_of_its_best_ticket_type() -> None:
    best_first = list(OF_STATE)
    for rank, state in enumerate(best_first):
        types = [ticket_type(**OF_STATE[other]) for other in reversed(best_first[rank:])]
        assert event_state(sale(*types), NOW).state == state
    assert event_state(sale(), NOW) == EventState("closed", None)


def test_an_event_opens_with_its_first_ticket_type_while_none_is_open() -> None:
    closed = ticket_type(sales_start=NOW - 2 * SECOND, sales_end=NOW - SECOND)
    waiting = ticket_type(sales_start=LATER), ticket_type(sales_start=SOON), closed
    assert event_state(sale(*waiting), NOW) == EventState("not_open", SOON)
    assert event_state(sale(*waiting, ticket_type()), NOW) == EventState("on_sale", None)


def test_a_sale_changes_by_time_alone_at_each_start_and_end() -> None:
    sold = sale(ticket_type(sales_start=SOON, sales_end=LATER), ticket_type())
    assert next_change(sold, NOW) == SOON
    assert next_change(sold, SOON) == LATER
    assert next_change(sold, LATER) == END
    assert next_change(sold, END) is None
