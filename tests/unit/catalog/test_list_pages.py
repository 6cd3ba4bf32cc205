"""Pages that are bounded in bytes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.list_pages import PAGE_MAX_BYTES, in_pages_of, rows_that_fit
from shared.errors import NotFound
from shared.web.pagination import PageWanted

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
    page = PageWanted(1, wanted, "http://gateway/")
    while True:
        offset = page.offset(len(sizes))
        assert offset == len(seen)
        rows = sizes[offset : offset + page.size]
        size = rows_that_fit(offset, rows)
        if size < len(rows):
            page = in_pages_of(page, size)
        seen += rows[:size]
        if page.links(len(sizes))["next"] is None:
            break
        page = replace(page, number=page.number + 1)
    assert seen == sizes
    with pytest.raises(NotFound):
        replace(page, number=page.number + 1).offset(len(sizes))
