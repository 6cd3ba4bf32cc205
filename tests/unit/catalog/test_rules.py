"""The catalog's rules, without any I/O."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.etags import check_if_match, etag_of, is_unchanged
from catalog.pages import PAGE_MAX_BYTES, in_pages_of, rows_that_fit
from catalog.rules import (
    MAX_CAPACITY,
    MAX_INT4,
    Stock,
    check_event_times,
    check_owner,
    check_sale_window,
    issued_after_change,
    issued_for_capacity,
    price,
)
from shared.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    PreconditionRequired,
)
from shared.web.pagination import PageWanted

NOON = datetime(2027, 6, 5, 12, tzinfo=UTC)
TAG = etag_of(b"{}")


@given(cents=st.integers(0, 999_999_999_999))
def test_a_price_is_a_decimal_string(cents: int) -> None:
    exact = Decimal(cents) / 100
    assert price(f"{exact:.2f}") == exact


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        [],
        "",
        " 1",
        "1.",
        ".5",
        "+1",
        "1,5",
        "-1",
        "1e2",
        "\uff11",
        19.99,
        100,
        Decimal(1),
    ],
)
def test_what_is_no_price_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        price(value)


def test_an_event_must_end_after_it_starts() -> None:
    check_event_times(NOON, NOON + timedelta(microseconds=1))
    with pytest.raises(InvalidInput) as refusal:
        check_event_times(NOON, NOON)
    assert refusal.value.errors == {"end_time": ["must be after start_time"]}


def test_a_sale_may_be_open_at_either_side() -> None:
    for window in ((None, None), (NOON, None), (None, NOON), (NOON, NOON + timedelta(seconds=1))):
        check_sale_window(*window)
    with pytest.raises(InvalidInput):
        check_sale_window(NOON, NOON)


def test_a_price_with_a_comma_is_told_what_a_price_looks_like() -> None:
    with pytest.raises(ValueError, match=r'such as "100\.00"'):
        price("12,50")


def test_only_the_owner_writes() -> None:
    check_owner(1, 1)
    with pytest.raises(PermissionDenied):
        check_owner(1, 2)


stocks = st.integers(0, MAX_CAPACITY).flatmap(
    lambda issued: st.builds(Stock, st.just(issued), st.integers(0, issued))
)


@given(stock=stocks, capacity=st.integers(0, MAX_CAPACITY))
def test_a_capacity_that_is_set_is_what_is_left(stock: Stock, capacity: int) -> None:
    assert Stock(issued_for_capacity(stock, capacity), stock.sold).left == capacity


def test_a_capacity_is_refused_where_the_count_of_issued_tickets_would_overflow() -> None:
    stock = Stock(issued=MAX_INT4, sold=MAX_INT4 - 5)
    assert issued_for_capacity(stock, 5) == MAX_INT4
    with pytest.raises(InvalidInput):
        issued_for_capacity(stock, 6)


@given(stock=stocks, change=st.integers(-2 * MAX_CAPACITY, 2 * MAX_CAPACITY))
def test_a_change_moves_what_is_left_or_is_refused(stock: Stock, change: int) -> None:
    if change != 0 and 0 <= stock.left + change <= MAX_CAPACITY:
        issued = issued_after_change(stock, change)
        assert Stock(issued, stock.sold).left == stock.left + change
    else:
        with pytest.raises(InvalidInput) as refusal:
            issued_after_change(stock, change)
        assert list(refusal.value.errors or ()) == ["change"]


def test_a_write_passes_only_with_the_current_tag() -> None:
    check_if_match(None, TAG, required=False)
    for header in (TAG, "*", f'"a,b", {TAG}'):
        check_if_match(header, TAG, required=True)
    with pytest.raises(PreconditionRequired):
        check_if_match(None, TAG, required=True)
    for header in ('"other"', f"W/{TAG}", "", TAG.strip('"')):
        with pytest.raises(PreconditionFailed):
            check_if_match(header, TAG, required=False)


@pytest.mark.parametrize(
    "header", [f"{TAG}x", f"{TAG} {TAG}", f"x{TAG}", f"{TAG},x", f"*, {TAG}", f"{TAG};", "**", '"']
)
def test_what_is_no_list_of_tags_names_none(header: str) -> None:
    with pytest.raises(PreconditionFailed):
        check_if_match(header, TAG)
    assert not is_unchanged(header, TAG)


def test_a_sale_changes_the_tag_and_only_what_it_is_compared_with_where_sales_matter() -> None:
    read, now, edited = etag_of(b"a", sold=5), etag_of(b"a", sold=6), etag_of(b"b", sold=5)
    assert len({read, now, edited}) == 3
    check_if_match(read, now, guards_sales=False)
    with pytest.raises(PreconditionFailed):
        check_if_match(read, now)
    for tag in (edited, f"W/{now}", "", now.strip('"')):
        with pytest.raises(PreconditionFailed):
            check_if_match(tag, now, guards_sales=False)


@pytest.mark.parametrize("piece", [" ", '"', '"" ', '"a"', '"a",', ",", 'W/"', "\t,"])
def test_a_long_header_is_read_in_linear_time(piece: str) -> None:
    header = piece * (60_000 // len(piece))
    started = time.process_time()
    is_unchanged(f"{header}x", TAG)
    assert time.process_time() - started < 0.5


OFFSETS = st.integers(0, 500)
SIZES = st.lists(st.integers(1, 70_000), min_size=1, max_size=100)


@given(offset=OFFSETS, sizes=SIZES)
def test_a_page_that_is_too_long_goes_on_in_pages_that_begin_where_it_does(
    offset: int, sizes: list[int]
) -> None:
    rows = rows_that_fit(offset, sizes)
    assert 1 <= rows <= len(sizes)
    assert rows == 1 or sum(sizes[:rows]) <= PAGE_MAX_BYTES
    if rows < len(sizes):
        assert offset % rows == 0


@given(sizes=st.lists(st.integers(1, 70_000), max_size=300), wanted=st.integers(1, 100))
def test_pages_that_are_bounded_in_bytes_hold_each_row_once(sizes: list[int], wanted: int) -> None:
    seen: list[int] = []
    page: PageWanted = PageWanted(1, wanted, "http://door/")
    while True:
        offset = page.offset(len(sizes))
        assert offset == len(seen)
        rows = sizes[offset : offset + page.size]
        size = rows_that_fit(offset, rows)
        if size < len(rows):
            page = in_pages_of(page, size)
        seen += rows[:size]
        if page.page_of(len(sizes), ()).next is None:
            break
        page = replace(page, number=page.number + 1)
    assert seen == sizes


def test_a_reader_is_told_when_nothing_changed() -> None:
    assert is_unchanged(f'W/"x" , W/{TAG}', TAG)
    assert is_unchanged("*", TAG)
    assert not is_unchanged('"x"', TAG)
    assert not is_unchanged(f'"x" {TAG}', TAG)
    assert not is_unchanged(None, TAG)


@given(count=st.integers(0, 50), size=st.integers(1, 10))
def test_the_pages_of_a_list_hold_each_row_once(count: int, size: int) -> None:
    rows = list(range(count))
    seen: list[int] = []
    number = 1
    while True:
        wanted = PageWanted(number, size, "http://door/")
        before = wanted.offset(count)
        page = wanted.page_of(count, rows[before : before + size])
        seen += page.results
        if page.next is None:
            break
        number += 1
    assert seen == rows
    with pytest.raises(NotFound):
        PageWanted(number + 1, size, "http://door/").offset(count)
