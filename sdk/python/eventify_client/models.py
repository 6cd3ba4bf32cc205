"""What the API returns: Decimal, and aware times. Fields of a later server are left out."""

from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")
PENDING = ("queued", "waiting")


class Shortage(Struct, frozen=True):  # of a line
    ticket_type: int
    quantity: int
    left: int


class Line(Struct, frozen=True):
    ticket_type: int
    quantity: int
    unit_price: Decimal
    total_price: Decimal
    cancelled_quantity: int = 0


class Purchase(Struct, frozen=True):
    id: str
    event: int
    status: str
    items: tuple[Line, ...]
    total_price: Decimal
    currency: str
    created_at: datetime
    decided_at: datetime | None = None
    reason: str | None = None
    short: tuple[Shortage, ...] | None = None
    buyer: str | None = None
    position: int | None = None
    estimated_wait_seconds: float | None = None
    held_until: datetime | None = None
    seconds_left: int | None = None  # of a hold, for clients whose clocks are wrong
    payment_reference: str | None = None
    resolved_at: datetime | None = None
    cancelled_quantity: int = 0


class EntryItem(Struct, frozen=True):
    ticket_type: int
    quantity: int
    change: int
    left_after: int
    unit_price: Decimal | None = None
    cancelled: int | None = None


class Entry(Struct, frozen=True):
    number: int
    kind: str
    at: datetime
    command: str
    batch: int
    items: tuple[EntryItem, ...]
    status: str | None = None
    reason: str | None = None
    purchase: str | None = None
    user: int | None = None
    buyer: str | None = None
    total_price: Decimal | None = None
    currency: str | None = None
    payment_reference: str | None = None
    held_until: datetime | None = None
    seconds: int | None = None
    restock: bool | None = None
    note: str | None = None
    position: str = ""  # of the feed: store it with what you make of the entry


class Delivery(Struct, frozen=True):
    """`entries` of one event in order; a test (`type`: `webhook.test`) has none, and no event.

    The same entry may come again: know it by event, epoch and number. If `epoch` is new, set aside
    what you have of earlier ones after number `after`: what the restored database has of it comes
    again, with the same `command`, and the rest is lost.
    """

    id: str
    type: str
    timestamp: datetime
    event: int | None = None
    epoch: str | None = None
    after: int | None = None
    entries: tuple[Entry, ...] = ()


class Ledger(Struct):
    entries: tuple[Entry, ...]
    epoch: str
    next: str


class TokenPair(Struct):
    access: str
    refresh: str


class Page(Struct, Generic[T]):
    results: list[T]
    next: str | None
