"""What the API returns and takes. Fields of a later server are in `raw` only, and break nothing."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import (
    Any,
    Literal,
    TypedDict,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_type_hints,
)

M = TypeVar("M", bound="Model")
Pending = Literal["queued", "waiting"]
Decided = Literal["held", "confirmed", "rejected", "released", "expired", "cancelled"]
PurchaseStatus = Pending | Decided
SaleState = Literal["closed", "not_open", "paused", "on_sale", "all_held", "sold_out"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Model:
    """`raw`: the JSON as it came. Money is Decimal, and times are aware."""

    raw: Mapping[str, Any]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


class Shortage(Model):
    """A line for which too few tickets were left."""

    ticket_type: int
    quantity: int
    left: int


class Line(Model):
    ticket_type: int
    quantity: int
    unit_price: Decimal
    total_price: Decimal
    cancelled_quantity: int = 0


class Purchase(Model):
    """`seconds_left` of a hold is for clients whose clocks are wrong."""

    id: str
    event: int
    status: PurchaseStatus
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
    seconds_left: int | None = None
    payment_reference: str | None = None
    resolved_at: datetime | None = None
    cancelled_quantity: int = 0


class Occasion(Model):
    title: str
    start_time: datetime
    end_time: datetime
    currency: str


class SaleSummary(Occasion):
    event: int
    state: SaleState
    opens_at: datetime | None


class Terms(Model):
    id: int
    name: str
    price: Decimal
    sales_start: datetime | None
    sales_end: datetime | None
    max_per_purchase: int
    max_per_user: int | None
    hold_seconds: int | None


class Offer(Terms):
    """A ticket type of a published sale."""

    state: SaleState
    left: int | None


class Sale(Occasion):
    """Count down to `sales_start` by `now`, the clock that opens and closes sales."""

    event: int
    description: str
    max_per_user: int | None
    notice: str | None
    payment_url: str | None
    now: datetime
    stale: bool
    ticket_types: tuple[Offer, ...]


class Changing(Model):
    """`etag` is for `if_match`; what is read from a list has none."""

    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None


class Event(Occasion, Changing):
    id: int
    description: str
    owner: int
    max_per_user: int | None
    published: bool
    show_left: bool
    payment_url: str | None
    notice: str | None


class TicketType(Terms, Changing):
    """`capacity` is what is left to sell."""

    event: int
    capacity: int
    sold: int
    issued: int
    paused_at: datetime | None


class EntryItem(Model):
    ticket_type: int
    quantity: int
    change: int
    left_after: int
    unit_price: Decimal | None = None
    cancelled: int | None = None


class Entry(Model):
    """An entry of an event's ledger. Store `position` with it, in one transaction."""

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
    position: str = ""


# fmt: off
EventOptions = TypedDict("EventOptions", {  # noqa: UP013 - short
    "description": str, "currency": str, "max_per_user": int | None, "published": bool,
    "show_left": bool, "payment_url": str | None,
}, total=False)
TicketTypeOptions = TypedDict("TicketTypeOptions", {  # noqa: UP013
    "sales_start": datetime | None, "sales_end": datetime | None, "max_per_purchase": int,
    "max_per_user": int | None, "hold_seconds": int | None,
}, total=False)
# `owner`: an id, or `me`. `ordering`: such as `-start_time`.
EventFilters = TypedDict("EventFilters", {  # noqa: UP013
    "search": str, "owner": int | str, "starts_after": datetime, "ordering": str, "page_size": int,
}, total=False)
# `event`: all purchases of an event of yours, instead of your own.
PurchaseFilters = TypedDict("PurchaseFilters", {  # noqa: UP013
    "event": int, "status": PurchaseStatus, "ticket_type": int, "buyer": str,
    "payment_reference": str, "page_size": int,
}, total=False)
# fmt: on


class EventChanges(EventOptions, total=False):
    title: str
    start_time: datetime
    end_time: datetime


class TicketTypeChanges(TicketTypeOptions, total=False):
    event: int
    name: str
    price: Decimal
    capacity: int


def decode(model: type[M], data: Mapping[str, Any], **more: Any) -> M:
    kinds = _kinds(cast("Hashable", model))
    values = {name: _value(kinds[name], data[name]) for name in kinds.keys() & data.keys()}
    decoded = model(**(values | more))
    object.__setattr__(decoded, "raw", data)
    return decoded


def decode_all(model: type[M], rows: Iterable[Mapping[str, Any]]) -> Sequence[M]:
    return tuple(decode(model, row) for row in rows)


@cache
def _kinds(model: Hashable) -> dict[str, tuple[Any, ...]]:
    """For each field the types that its annotation names."""
    hints = {name: kind for name, kind in get_type_hints(model).items() if name != "raw"}
    return {name: (*get_args(kind), kind) for name, kind in hints.items()}


def _value(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return None
    if Decimal in kinds:
        return Decimal(value)
    if datetime in kinds:
        return datetime.fromisoformat(value)
    if isinstance(value, list):
        row = next(part for kind in kinds for part in (kind, *get_args(kind)) if _is_model(part))
        return decode_all(row, value)
    return value


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def encode(value: Any) -> Any:
    """The JSON of money, of times, and of what has them as fields."""
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in value.items()}
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else value
