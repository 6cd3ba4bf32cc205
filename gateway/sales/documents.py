"""The public documents of sales, encoded once for many requests.

What a request adds are the time and whether the document is stale; its ETag ignores the time.
"""

from collections.abc import Iterable, Sequence
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
    return _document(body, [next_change(sale, now)])


def list_document(sales: Sequence[Sale], at: float) -> Document:
    """Args: sales: of events, soonest first; those that have ended by then are left out."""
    now = datetime.fromtimestamp(at, UTC)
    shown = []
    for sale in sales:
        if sale.end_time <= now:
            continue
        state, opens_at = event_state(sale, now)
        shown.append(
            {
                "event": sale.event,
                "title": sale.title,
                "start_time": sale.start_time,
                "end_time": sale.end_time,
                "currency": sale.currency,
                "state": state,
                "opens_at": opens_at,
            }
        )
    return _document({"now": MARK, "sales": shown}, [next_change(sale, now) for sale in sales])


def _document(body: dict[str, object], changes: Iterable[datetime | None]) -> Document:
    head, _mark, tail = msgspec.json.encode(body).partition(bytes(MARK))
    changes_at = min((time.timestamp() for time in changes if time is not None), default=inf)
    # 64 bits: two states of a sale do not share a tag by chance.
    return Document(head, tail, sha256(head + tail).hexdigest()[:16].encode(), changes_at)
