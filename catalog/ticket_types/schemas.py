"""Bodies of requests and responses about ticket types, and their ETags."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, StrictInt, WithJsonSchema

from catalog.etags import etag_of
from catalog.schemas import TIMES_EXAMPLE, PerUser, ReadOnly, Title, ViewedId, unset
from catalog.ticket_types.rules import (
    DEFAULT_PER_PURCHASE,
    HOLD_SECONDS_MAX,
    HOLD_SECONDS_MIN,
    MAX_CAPACITY,
    MAX_PER_PURCHASE,
    price,
)
from catalog.ticket_types.store import StoredTicketType
from shared.moments import Moment
from shared.row_ids import MAX_ID
from shared.web.openapi import with_example, with_page_of
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody

Price = Annotated[
    Decimal,
    BeforeValidator(price),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$", "examples": ["100.00"]}
    ),
]
HoldSeconds = Annotated[StrictInt, Field(ge=HOLD_SECONDS_MIN, le=HOLD_SECONDS_MAX)]
Id = Annotated[StrictInt, Field(ge=1, le=MAX_ID)]
Capacity = Annotated[StrictInt, Field(ge=0, le=MAX_CAPACITY)]
PerPurchase = Annotated[StrictInt, Field(ge=1, le=MAX_PER_PURCHASE)]

EXAMPLE = {
    "event": 1,
    "name": "Standing",
    "price": "100.00",
    "capacity": 500,
    # In the past, so that the examples can be tried out one by one, purchases included.
    "sales_start": "2026-01-10T10:00:00Z",
    "sales_end": "2027-06-05T18:00:00Z",
    "max_per_purchase": 10,
    "max_per_user": 4,
    "hold_seconds": 600,
}
# Paused, because FastAPI leaves a null out of examples.
VIEW_EXAMPLE = {
    "id": 1,
    **EXAMPLE,
    "sold": 20,
    "paused_at": "2026-02-01T09:30:00Z",
    "issued": 520,
    **TIMES_EXAMPLE,
}


class TicketTypeCreate(RequestBody):
    """A ticket type as the event's owner describes it."""

    model_config = with_example(EXAMPLE)

    event: Id
    name: Title
    price: Price
    capacity: Capacity = Field(description="How many are left to sell.")
    sales_start: Moment | None = Field(None, description="null: open from the beginning.")
    sales_end: Moment | None = Field(
        None, description="null: until the event ends, after which nothing is sold in any case."
    )
    max_per_purchase: PerPurchase = DEFAULT_PER_PURCHASE
    max_per_user: PerUser | None = Field(None, description="null: no limit.")
    hold_seconds: HoldSeconds | None = Field(
        None,
        description="How long a purchase is held for its payment; null: it is confirmed at once.",
    )
    id: ReadOnly = None
    sold: ReadOnly = None
    paused_at: ReadOnly = None
    issued: ReadOnly = None
    created_at: ReadOnly = None
    updated_at: ReadOnly = None


class TicketTypeUpdate(RequestBody):
    """The fields of a ticket type to change."""

    model_config = with_example({"price": "90.00", "sales_end": "2027-06-01T00:00:00Z"})

    event: Id = Field(default_factory=unset)
    name: Title = Field(default_factory=unset)
    price: Price = Field(default_factory=unset)
    capacity: Capacity = Field(default_factory=unset)
    sales_start: Moment | None = Field(default_factory=unset)
    sales_end: Moment | None = Field(default_factory=unset)
    max_per_purchase: PerPurchase = Field(default_factory=unset)
    max_per_user: PerUser | None = Field(default_factory=unset)
    hold_seconds: HoldSeconds | None = Field(default_factory=unset)
    id: ReadOnly = None
    sold: ReadOnly = None
    paused_at: ReadOnly = None
    issued: ReadOnly = None
    created_at: ReadOnly = None
    updated_at: ReadOnly = None


class TicketType(BaseModel):
    """A ticket type."""

    model_config = with_example(VIEW_EXAMPLE)

    id: ViewedId
    event: ViewedId
    name: str
    price: str = Field(
        description="A decimal number with two decimals.",
        json_schema_extra={"pattern": r"^[0-9]{1,10}\.[0-9]{2}$"},
    )
    capacity: int = Field(ge=0, description="How many are left to sell.")
    sold: int = Field(ge=0)
    sales_start: datetime | None
    sales_end: datetime | None
    max_per_purchase: int = Field(ge=1)
    max_per_user: int | None = Field(ge=1)
    hold_seconds: int | None = Field(
        ge=HOLD_SECONDS_MIN,
        le=HOLD_SECONDS_MAX,
        description="How long a purchase is held for its payment; null: it is confirmed at once.",
    )
    paused_at: datetime | None = Field(
        description="Since when no purchase is accepted, see `pause/`; null: it is not paused."
    )
    issued: int = Field(ge=0, description="`capacity`, `sold` and what is on hold together.")
    created_at: datetime
    updated_at: datetime = Field(
        description="Of the last change by its owner or the operator; not of sales."
    )

    @classmethod
    def of(cls, stored: StoredTicketType) -> "TicketType":
        ticket_type, stock = stored.ticket_type, stored.stock
        return cls(
            id=ticket_type.id,
            event=ticket_type.event_id,
            name=ticket_type.name,
            price=f"{ticket_type.price:.2f}",
            capacity=stock.left,
            sold=stock.sold,
            sales_start=ticket_type.sales_start,
            sales_end=ticket_type.sales_end,
            max_per_purchase=ticket_type.max_per_purchase,
            max_per_user=ticket_type.max_per_user,
            hold_seconds=ticket_type.hold_seconds,
            paused_at=ticket_type.paused_at,
            issued=stock.issued,
            created_at=ticket_type.created_at,
            updated_at=ticket_type.updated_at,
        )


class TicketTypePage(Page[TicketType]):
    """One page of a list of ticket types."""

    model_config = with_page_of(VIEW_EXAMPLE, "/api/ticket-types/")


class CapacityUpdate(RequestBody):
    """Tickets to add, or to withdraw when negative."""

    model_config = with_example({"change": 20})

    change: Annotated[StrictInt, Field(ge=-MAX_CAPACITY, le=MAX_CAPACITY)] = Field(
        description="Not 0; at least 0 tickets must be left.",
        json_schema_extra={"not": {"const": 0}},
    )


def representation(stored: StoredTicketType) -> bytes:
    """The JSON that clients read."""
    return TicketType.of(stored).model_dump_json().encode()


def etag(stored: StoredTicketType) -> str:
    """Two parts: what the owner changes, with the tickets issued; and those on hold and sold.

    `capacity` follows from these figures, so the tag names each representation.
    """
    stock = stored.stock
    unsold = {"capacity": stock.issued, "sold": 0}
    view = TicketType.of(stored).model_copy(update=unsold)
    return etag_of(view.model_dump_json().encode(), stock.held, stock.sold)
