"""Lists in pages: `{count, next, previous, results}`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from shared.errors import NotFound
from shared.web.public_address import PublicAddresses

# A screenful; and a limit on what one request may cost.
DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
# Rows that a list has at most: PostgreSQL counts so many in 20 ms, and the last page of them takes
# some tenths of a second at worst.
LIST_MAX_ROWS = 100_000
BEYOND_THE_END = "The list has no such page."
NOT_POSITIVE = "Must be a whole number from 1 on."
DIGITS = re.compile(r"[1-9][0-9]*")
# Enough to be more than `MAX_PAGE_SIZE`, and beyond the end of every list.
MAX_DIGITS = 9
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    count: int = Field(
        ge=0, description=f"The number of items on all pages; at most {LIST_MAX_ROWS:,} are listed."
    )
    next: str | None = Field(description="The next page's URL.")
    previous: str | None = Field(description="The previous page's URL.")
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

    def page_of(self, count: int, results: Sequence[Item]) -> Page[Item]:
        more = self.number * self.size < count
        return Page(
            count=count,
            next=self._url(self.number + 1) if more else None,
            previous=self._url(self.number - 1) if self.number > 1 else None,
            results=list(results),
        )

    def _url(self, number: int) -> str:
        page = (("page", str(number)),) if number > 1 else ()
        query = urlencode(self.query + page)
        return f"{self.address}?{query}" if query else self.address


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
) -> PageWanted:
    query = tuple(item for item in request.query_params.multi_items() if item[0] != "page")
    return PageWanted(page, page_size, public_address(request), query)


def public_address(request: Request) -> str:
    """The request's URL without its query, as the client knows it."""
    addresses: PublicAddresses = request.app.state.addresses
    return addresses.of(request.scope).url + request.url.path


WantedPage = Annotated[PageWanted, Depends(page_wanted)]
