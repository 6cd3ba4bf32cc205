"""What is counted of refusals, and that invented ticket types take no memory."""

import pytest
from sqlalchemy import create_engine

from gateway.live.refusals import COUNTED, INVENTED_MAX, EdgeRefusals
from gateway.purchases.store import OF_REQUEST
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.database.tables import EdgeRefusal


@pytest.fixture
def refusals() -> EdgeRefusals:
    return EdgeRefusals(create_engine("sqlite://"), BoundedExecutor("t", threads=1, waiting_max=1))


def test_invented_ticket_types_are_not_counted_without_end(refusals: EdgeRefusals) -> None:
    for ticket_type in range(2 * INVENTED_MAX):
        refusals.count(ticket_type, "too_many_requests")
        refusals.count(ticket_type, "invalid")
    refusals.count(1, "too_many_requests")
    refusals.count(-1, "sale_closed")
    counts = refusals.counts
    assert len(counts) == INVENTED_MAX + 1
    for ticket_type in range(10):
        refusals.count(ticket_type, "not_your_event")  # of a cart, whose other line there is
    assert len(counts) == INVENTED_MAX + 1
    assert (counts[1, "too_many_requests"], counts[-1, "sale_closed"]) == (2, 1)


def test_the_table_takes_all_codes_that_are_counted() -> None:
    (known,) = (
        str(check.sqltext)
        for check in EdgeRefusal.__table__.constraints
        if check.name == "edge_refusals_code_known"
    )
    assert all(f"'{code}'" in known for code in COUNTED)


def test_what_a_sale_refuses_as_a_whole_is_counted() -> None:
    assert set(OF_REQUEST) - {"unknown_user", "key_reused"} <= COUNTED
