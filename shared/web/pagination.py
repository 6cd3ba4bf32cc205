"""Lists in pages: by number, `{count, next, previous, results}`, or by cursor, `{next, results}`.

A page with a number begins after so many rows, which shifts while rows come and go. A page with a
cursor goes on after a row, whether or not that is still there.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from shared.errors import InvalidInput, NotFound
from shared.web import cursors
from shared.web.public_address import PublicAddresses

# A screenful; and a limit on what one request may cost.
DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
# Rows that a list has at most: PostgreSQL counts so many in 20 ms, and the last page of them takes
# some tenths of a second at worst.
LIST_MAX_ROWS = 100_000
BEYOND_THE_END = "The list has no such page."
NOT_POSITIVE = "Must be a whole number from 1 on."
NOT_A_CURSOR = "Must be as `next` of this list has it."
DIGITS = re.compile(r"[1-9][0-9]*")
# Enough to be more than `MAX_PAGE_SIZE`, and beyond the end of every list.
MAX_DIGITS = 9
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    count: int = Field(
        default_factory=int,
        ge=0,
        description=f"The number of items on all pages; at most {LIST_MAX_ROWS:,} are listed."
        " Without `cursor`.",
    )
    next: str | None = Field(description="The next page's URL; null: this is the last.")
    previous: str | None = Field(
        default_factory=lambda: None, description="The previous page's URL. Without `cursor`."
    )
    results: list[Item]


@dataclass(frozen=True, slots=True)
class PageWanted:
    """`number` counts from 1; `address` and `query` are those of the request, without `page`."""

    number: int
    size: int
    address: str
    query: tuple[tuple[str, str], ...] = ()

    def offset(self, count: int) -> int:
        """The number of rows before the page; the first page exists even when it is empty.

        Raises:
            NotFound: the page is beyond the end.
        """
        before = (self.number - 1) * self.size
        if self.number > 1 and before >= count:
            raise NotFound(BEYOND_THE_END)
        return before

    def links(self, count: int) -> dict[str, Any]:
        """All of the page but its `results`."""
        more = self.number * self.size < count
        return {
            "count": count,
            "next": self._url(self.number + 1) if more else None,
            "previous": self._url(self.number - 1) if self.number > 1 else None,
        }

    def _url(self, number: int) -> str:
        page = (("page", str(number)),) if number > 1 else ()
        query = urlencode(self.query + page)
        return f"{self.address}?{query}" if query else self.address

    def by_cursor(self) -> "CursorWanted":
        """The first page of the same list by cursor."""
        return CursorWanted("", self.size, self.address, self.query)


@dataclass(frozen=True, slots=True)
class CursorWanted:
    """`cursor`: as `next` has it; empty: from the start. The others as in `PageWanted`."""

    cursor: str
    size: int
    address: str
    query: tuple[tuple[str, str], ...] = ()

    def after(self, *kinds: Any) -> tuple[Any, ...] | None:
        """The sort key of the row that the page goes on after; None: it is the first page.

        Raises:
            InvalidInput: the cursor is none of this list.
        """
        if not self.cursor:
            return None
        try:
            return cursors.decoded(self.cursor, self._name, *kinds)
        except ValueError:
            raise bad_cursor() from None

    def links(self, last: tuple[Any, ...] | None) -> dict[str, Any]:
        """All of the page but its `results`.

        Args:
            last: the sort key of its last row; None: no row follows.
        """
        if last is None:
            return {"next": None}
        query = urlencode((*self.query, ("cursor", cursors.encoded(self._name, last))))
        return {"next": f"{self.address}?{query}"}

    @property
    def _name(self) -> str:
        filters = (item for item in self.query if item[0] != "page_size")
        # Not the address: a client may go on under another name of the server.
        return cursors.name_of(urlsplit(self.address).path.rpartition("/api/")[2], filters)


def bad_cursor() -> InvalidInput:
    return InvalidInput(errors={"cursor": [NOT_A_CURSOR]})


def page_number(text: object) -> int:
    """The number of a page, which may be beyond the end of every list.

    Raises:
        ValueError: it is not a positive number.
    """
    if not DIGITS.fullmatch(str(text)):
        raise ValueError(NOT_POSITIVE)
    return int(str(text)[:MAX_DIGITS])


def page_size_wanted(text: object) -> int:
    """The number of rows, at most `MAX_PAGE_SIZE`. Raises ValueError as `page_number` does."""
    return min(page_number(text), MAX_PAGE_SIZE)


PageNumber = Annotated[
    int, BeforeValidator(page_number), WithJsonSchema({"type": "integer", "minimum": 1})
]


PageSize = Annotated[
    int, BeforeValidator(page_size_wanted), WithJsonSchema({"type": "integer", "minimum": 1})
]


async def page_wanted(
    request: Request,
    page: Annotated[PageNumber, Query(description="Counts from 1.")] = 1,
    page_size: Annotated[
        PageSize,
        Query(description=f"At most {MAX_PAGE_SIZE}; a larger value means {MAX_PAGE_SIZE}."),
    ] = DEFAULT_PAGE_SIZE,
    cursor: Annotated[
        str | None,
        Query(
            description="Instead of `page`: as `next` has it; empty: from the start. Pages by"
            " cursor do not shift while rows come and go, and have no `count`.",
        ),
    ] = None,
) -> PageWanted | CursorWanted:
    """Raises InvalidInput: both `page` and `cursor` are sent."""
    sent = request.query_params
    query = tuple(item for item in sent.multi_items() if item[0] not in ("page", "cursor"))
    address = public_address(request)
    if cursor is None:
        return PageWanted(page, page_size, address, query)
    if "page" in sent:
        raise InvalidInput(errors={"cursor": ["Send `page` or `cursor`, not both."]})
    return CursorWanted(cursor, page_size, address, query)


def public_address(request: Request) -> str:
    """The request's URL without its query, as the client knows it."""
    addresses: PublicAddresses = request.app.state.addresses
    return addresses.of(request.scope).url + request.url.path


WantedPage = Annotated[PageWanted | CursorWanted, Depends(page_wanted)]
