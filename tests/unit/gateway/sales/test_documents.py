"""The documents of sales: one encoding for many requests."""

import json
from datetime import timedelta
from math import inf
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from gateway.sales import documents
from gateway.sales.documents import SaleList, sale_document
from gateway.sales.rules import event_state
from tests.unit.gateway.sales.test_rules import END, LATER, NOW, SOON, sale, ticket_type

AT = NOW.timestamp()


def test_a_document_says_what_is_left_only_where_the_event_shows_it() -> None:
    hidden = sale(ticket_type(left=7))
    shown = replace(hidden, show_left=True)
    for one, left in ((hidden, None), (shown, 7)):
        document = sale_document(one, AT)
        (listed,) = json.loads(document.body(AT, stale=False))["ticket_types"]
        assert (listed["state"], listed["left"]) == ("on_sale", left)
        assert listed.keys().isdisjoint({"held", "paused"})


def test_the_time_is_that_of_the_request_and_the_tag_ignores_it() -> None:
    document = sale_document(sale(), AT)
    first, second = (json.loads(document.body(AT + more, stale=False)) for more in (0, 1.25))
    assert (first["now"], second["now"]) == ("2026-12-01T10:00:00.000Z", "2026-12-01T10:00:01.250Z")
    assert first | {"now": second["now"]} == second
    assert document.etag(stale=False) == sale_document(sale(), AT + 5).etag(stale=False)


def test_a_stale_document_says_so_and_has_another_tag() -> None:
    document = sale_document(sale(), AT)
    assert json.loads(document.body(AT, stale=True))["stale"] is True
    assert document.etag(stale=True) != document.etag(stale=False)
    changed = sale_document(replace(sale(), notice="Late"), AT)
    assert changed.etag(stale=False) != document.etag(stale=False)


def test_a_document_changes_by_time_alone_at_the_next_boundary() -> None:
    sold = sale(ticket_type(sales_start=SOON))
    assert sale_document(sold, AT).changes_at == SOON.timestamp()
    assert sale_document(sold, END.timestamp()).changes_at == inf
    assert SaleList([]).document(AT).changes_at == inf


def test_the_list_leaves_out_what_has_ended() -> None:
    ended, coming = sale(end_time=SOON), sale(ticket_type(sales_start=LATER))
    listed = SaleList([ended, coming])
    before = listed.document(AT)
    assert before.changes_at == SOON.timestamp()
    after = listed.document(before.changes_at)
    sales = json.loads(after.body(AT, stale=False))["sales"]
    assert [(one["state"], one["opens_at"]) for one in sales] == [
        ("not_open", (NOW + timedelta(minutes=1)).isoformat().replace("+00:00", "Z"))
    ]


def test_at_each_boundary_the_list_is_as_if_it_were_new_and_one_sale_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opens(number: int) -> timedelta:
        return timedelta(milliseconds=3 * number)

    sales = [
        replace(
            sale(
                ticket_type(sales_start=NOW + opens(n), sales_end=LATER + opens(n)),
                ticket_type(left=0),
            ),
            event=n,
        )
        for n in range(1, 51)
    ]
    listed = SaleList(sales)
    document = listed.document(AT)
    encoded = Mock(side_effect=event_state)
    for _ in range(100):
        moment = document.changes_at
        assert listed.document(moment - 0.000_001) == document
        with monkeypatch.context() as patched:
            patched.setattr(documents, "event_state", encoded)
            changed = listed.document(moment)
        assert changed.tag != document.tag
        assert changed == SaleList(sales).document(moment)
        document = changed
    assert encoded.call_count == 100
    assert document.changes_at == END.timestamp()
