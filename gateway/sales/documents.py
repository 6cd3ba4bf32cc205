"""The public documents of sales, encoded once for many requests.

What a request adds are the time and whether the document is stale; its ETag ignores the time.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from math import inf
from typing import Final

import msgspec

from gateway.sales.rules import Sale, event_state, next_change, state_of

# In the place of what a request adds.
MARK: Final = msgspec.Raw(b"\0")
STALE_MARK: Final = b"-stale"


class Document(msgspec.Struct, frozen=True):
    """A body in two parts, between which the time belongs.

    `changes_at`: from when on it is another one by time alone, in seconds since 1970.
    """

    head: bytes
    tail: bytes
    tag: bytes
    changes_at: float

    @property
    def size(self) -> int:
        return len(self.head) + len(self.tail)

    def body(self, now: float, *, stale: bool) -> bytes:
        """Args: now: in seconds since 1970."""
        milliseconds = int(now * 1_000)
        return b'%b"%b.%03dZ","stale":%b%b' % (
            self.head,
            _second(milliseconds // 1_000),
            milliseconds % 1_000,
            b"true" if stale else b"false",
            self.tail,
        )

    def etag(self, *, stale: bool) -> bytes:
        """Weak: bodies of the same tag differ in their time."""
        return b'W/"%b%b"' % (self.tag, STALE_MARK if stale else b"")


@lru_cache(2)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def sale_document(sale: Sale, at: float) -> Document:
    """Args: at: the moment, in seconds since 1970."""
    now = datetime.fromtimestamp(at, UTC)
    ticket_types = [
        {
            "id": one.id,
            "name": one.name,
            "price": one.price,
            "sales_start": one.sales_start,
            "sales_end": one.sales_end,
            "max_per_purchase": one.max_per_purchase,
            "max_per_user": one.max_per_user,
            "hold_seconds": one.hold_seconds,
            "state": state_of(one, sale.end_time, now),
            "left": one.left if sale.show_left else None,
        }
        for one in sale.ticket_types
    ]
    body = {
        "event": sale.event,
        "title": sale.title,
        "description": sale.description,
        "start_time": sale.start_time,
        "end_time": sale.end_time,
        "currency": sale.currency,
        "max_per_user": sale.max_per_user,
        "notice": sale.notice,
        "payment_url": sale.payment_url,
        "now": MARK,
        "ticket_types": ticket_types,
    }
    return _document(body, _changes_at(sale, now))


class _Listed(msgspec.Struct, frozen=True):
    """A sale in the list, encoded; empty once it has ended. `changes_at`: as of a document."""

    data: bytes
    changes_at: float


_NOT_ENCODED: Final = _Listed(b"", -inf)


class SaleList:
    """The document of many sales. Only those that change are encoded anew: thousands of ticket
    types may open one after the other, a few milliseconds apart.

    Args:
        sales: of events, soonest first; those that have ended by then are left out.
    """

    def __init__(self, sales: Sequence[Sale]) -> None:
        self._sales = sales
        self._listed = [_NOT_ENCODED] * len(sales)

    def document(self, at: float) -> Document:
        """Args: at: the moment, in seconds since 1970; an earlier one changes nothing back."""
        now = datetime.fromtimestamp(at, UTC)
        self._listed = [
            _listed(sale, now) if at >= known.changes_at else known
            for sale, known in zip(self._sales, self._listed, strict=True)
        ]
        shown = [msgspec.Raw(one.data) for one in self._listed if one.data]
        changes_at = min((one.changes_at for one in self._listed), default=inf)
        return _document({"now": MARK, "sales": shown}, changes_at)


def _listed(sale: Sale, now: datetime) -> _Listed:
    if sale.end_time <= now:
        return _Listed(b"", inf)
    state, opens_at = event_state(sale, now)
    body = {
        "event": sale.event,
        "title": sale.title,
        "start_time": sale.start_time,
        "end_time": sale.end_time,
        "currency": sale.currency,
        "state": state,
        "opens_at": opens_at,
    }
    return _Listed(msgspec.json.encode(body), _changes_at(sale, now))


def _changes_at(sale: Sale, now: datetime) -> float:
    change = next_change(sale, now)
    return inf if change is None else change.timestamp()


def _document(body: dict[str, object], changes_at: float) -> Document:
    head, _mark, tail = msgspec.json.encode(body).partition(bytes(MARK))
    # 64 bits: two states of a sale do not share a tag by chance.
    return Document(head, tail, sha256(head + tail).hexdigest()[:16].encode(), changes_at)
