"""Pages of lists with a bounded cost: in rows counted, and in bytes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, takewhile
from typing import Any

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from shared.web.pagination import LIST_MAX_ROWS, PageWanted

# Twenty events with the longest descriptions in ASCII. One event has 64 KiB at most.
PAGE_MAX_BYTES = 256 * 1024


def count_of(session: Session, wanted: Select[*tuple[Any, ...]]) -> int:
    """The number of rows, counted up to `LIST_MAX_ROWS`."""
    rows = wanted.order_by(None).with_only_columns(literal(1), maintain_column_froms=True)
    counted = select(func.count()).select_from(rows.limit(LIST_MAX_ROWS).subquery())
    return session.scalars(counted).one()


def rows_that_fit(offset: int, sizes: Sequence[int]) -> int:
    """How many of a page's rows fit: all, or the size of shorter pages that continue the list.

    One of those pages begins where this one does, so the size divides `offset`. At offset 0 it is
    a power of two, which can be halved again. A single row always fits.

    Args:
        offset: rows before the page.
        sizes: bytes of each of the page's rows.
    """
    totals = takewhile(lambda total: total <= PAGE_MAX_BYTES, accumulate(sizes))
    fitting = sum(1 for _ in totals)
    if fitting == len(sizes):
        return fitting
    if offset == 0:
        return 1 << max(0, fitting.bit_length() - 1)
    return max((rows for rows in range(1, fitting + 1) if offset % rows == 0), default=1)


def in_pages_of(page: PageWanted, size: int) -> PageWanted:
    """The page that begins with the same row, in a list with pages of another size."""
    number = (page.number - 1) * page.size // size + 1
    query = tuple(item for item in page.query if item[0] != "page_size")
    return replace(page, number=number, size=size, query=(*query, ("page_size", str(size))))


def first_that_fit(sizes: Sequence[int]) -> int:
    """How many of a page's rows fit; a single one always does."""
    totals = takewhile(lambda total: total <= PAGE_MAX_BYTES, accumulate(sizes))
    return max(sum(1 for _ in totals), min(1, len(sizes)))


def page_json(links: Mapping[str, Any], rows: Sequence[bytes]) -> bytes:
    """A page of rows that are encoded already."""
    head = json.dumps(links, separators=(",", ":"))
    return b'%b,"results":[%b]}' % (head[:-1].encode(), b",".join(rows))
