"""The bodies that the catalog reads and answers."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)

from catalog.rules import (
    DEFAULT_PER_PURCHASE,
    MAX_CAPACITY,
    MAX_INT4,
    MAX_PER_PURCHASE,
    price,
)
from shared.database.tables import Event, TicketInventory, TicketType
from shared.row_ids import MAX_ID
from shared.text import (
    LINE_PATTERN,
    NO_NUL,
    TEXT_PATTERN,
    InNfc,
    Storable,
    folded,
    readable_line,
    readable_text,
)
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody

# What the form leaves open, pydantic refuses: it knows the days of each month.
WRITTEN_TIME = re.compile(r"[^T]+T.*(Z|[+-][0-9:]+)", re.IGNORECASE)


def _written_time(value: object) -> object:
    """A number is no time here, however many seconds since 1970 it may mean; nor is a time that
    does not say where, or whose `+` became a space on its way in an address."""
    if not isinstance(value, str) or not WRITTEN_TIME.fullmatch(value):
        raise ValueError("must be a time with its offset, such as 2026-11-22T20:00:00Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    """The same moment in UTC, where the years 1 to 9999 are all there is."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _searchable(words: str) -> str:
    folded(words)
    return words


def _unset() -> Any:
    """The default of a field that a PATCH may leave out, and may not set to null."""
    return None


# Each word is looked for in every event: more would only cost.
SEARCH_MAX_CHARACTERS = 200
SearchText = Annotated[
    str,
    StringConstraints(max_length=SEARCH_MAX_CHARACTERS),
    Storable,
    Field(json_schema_extra={"pattern": NO_NUL}),
    AfterValidator(_searchable),
]
# A page of a list is bounded in bytes; what is stored and longer stays readable.
DESCRIPTION_MAX_CHARACTERS = 10_000
# White space around a text is cut off.
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=DESCRIPTION_MAX_CHARACTERS),
    InNfc,
    Storable,
    AfterValidator(readable_text),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    InNfc,
    Storable,
    AfterValidator(readable_line),
    Field(json_schema_extra={"pattern": LINE_PATTERN}),
]
# Both bounds of a moment hold in UTC as well, for that is how it is stored and answered.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_time), AfterValidator(_in_utc)]
Price = Annotated[
    Decimal,
    BeforeValidator(price),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$", "examples": ["100.00"]}
    ),
]
Id = Annotated[StrictInt, Field(ge=1, le=MAX_ID)]
ViewedId = Annotated[
    int,
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]
Capacity = Annotated[StrictInt, Field(ge=0, le=MAX_CAPACITY)]
PerPurchase = Annotated[StrictInt, Field(ge=1, le=MAX_PER_PURCHASE)]
PerUser = Annotated[StrictInt, Field(ge=1, le=MAX_INT4)]

# Clients send back what they have read, with changes (RFC 9110, 9.3.4). So what is in an answer is
# known in a body too; OpenAPI's `readOnly` says that it changes nothing.
ReadOnly = Annotated[
    object, Field(exclude=True, description="Ignored.", json_schema_extra={"readOnly": True})
]

EVENT_EXAMPLE = {
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
}
EVENT_VIEW_EXAMPLE = {"id": 1, **EVENT_EXAMPLE, "owner": 1}
TICKET_TYPE_EXAMPLE = {
    "event": 1,
    "name": "Standing",
    "price": "100.00",
    "capacity": 500,
    # Past, so that who tries out the examples one by one can buy.
    "sales_start": "2026-01-10T10:00:00Z",
    "sales_end": "2027-06-05T18:00:00Z",
    "max_per_purchase": 10,
    "max_per_user": 4,
}
TICKET_TYPE_VIEW_EXAMPLE = {
    "id": 1,
    **TICKET_TYPE_EXAMPLE,
    "sold": 0,
    # A paused one, for FastAPI leaves a null out of examples.
    "paused_at": "2026-02-01T09:30:00Z",
}


def _with_example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


def _with_page_of(example: dict[str, Any], address: str) -> ConfigDict:
    """The second of three pages."""
    return _with_example(
        {
            "count": 3,
            "next": f"{address}?page_size=1&page=3",
            "previous": f"{address}?page_size=1",
            "results": [example],
        }
    )


class EventBody(RequestBody):
    """An event as its owner describes it."""

    model_config = _with_example(EVENT_EXAMPLE)

    title: Title
    description: Description = ""
    start_time: Moment
    end_time: Moment = Field(description="After `start_time`.")
    id: ReadOnly = None
    owner: ReadOnly = None


class EventPatch(RequestBody):
    """Those fields of an event that shall change."""

    model_config = _with_example({"title": "Open-air concert, second night"})

    title: Title = Field(default_factory=_unset)
    description: Description = Field(default_factory=_unset)
    start_time: Moment = Field(default_factory=_unset)
    end_time: Moment = Field(default_factory=_unset)
    id: ReadOnly = None
    owner: ReadOnly = None


class EventView(BaseModel):
    """An event."""

    model_config = _with_example(EVENT_VIEW_EXAMPLE)

    id: ViewedId
    title: str
    description: str
    start_time: datetime
    end_time: datetime
    owner: ViewedId = Field(description="The owner's id; only the owner writes.")

    @classmethod
    def of(cls, event: Event) -> "EventView":
        return cls(
            id=event.id,
            title=event.title,
            description=event.description,
            start_time=event.start_time,
            end_time=event.end_time,
            owner=event.owner_id,
        )


class EventPage(Page[EventView]):
    """One page of a list of events."""

    model_config = _with_page_of(EVENT_VIEW_EXAMPLE, "http://localhost:8000/api/events/")


class TicketTypeBody(RequestBody):
    """A ticket type as the event's owner describes it."""

    model_config = _with_example(TICKET_TYPE_EXAMPLE)

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
    id: ReadOnly = None
    sold: ReadOnly = None
    paused_at: ReadOnly = None


class TicketTypePatch(RequestBody):
    """Those fields of a ticket type that shall change."""

    model_config = _with_example({"price": "90.00", "sales_end": "2027-06-01T00:00:00Z"})

    event: Id = Field(default_factory=_unset)
    name: Title = Field(default_factory=_unset)
    price: Price = Field(default_factory=_unset)
    capacity: Capacity = Field(default_factory=_unset)
    sales_start: Moment | None = Field(default_factory=_unset)
    sales_end: Moment | None = Field(default_factory=_unset)
    max_per_purchase: PerPurchase = Field(default_factory=_unset)
    max_per_user: PerUser | None = Field(default_factory=_unset)
    id: ReadOnly = None
    sold: ReadOnly = None
    paused_at: ReadOnly = None


class TicketTypeView(BaseModel):
    """A ticket type."""

    model_config = _with_example(TICKET_TYPE_VIEW_EXAMPLE)

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
    paused_at: datetime | None = Field(
        description="Since when nothing is accepted, see `pause/`; null: it is not paused."
    )

    @classmethod
    def of(cls, ticket_type: TicketType, inventory: TicketInventory) -> "TicketTypeView":
        return cls(
            id=ticket_type.id,
            event=ticket_type.event_id,
            name=ticket_type.name,
            price=f"{ticket_type.price:.2f}",
            capacity=inventory.issued - inventory.sold,
            sold=inventory.sold,
            sales_start=ticket_type.sales_start,
            sales_end=ticket_type.sales_end,
            max_per_purchase=ticket_type.max_per_purchase,
            max_per_user=ticket_type.max_per_user,
            paused_at=ticket_type.paused_at,
        )


class TicketTypePage(Page[TicketTypeView]):
    """One page of a list of ticket types."""

    model_config = _with_page_of(
        TICKET_TYPE_VIEW_EXAMPLE, "http://localhost:8000/api/ticket-types/"
    )


class CapacityChange(RequestBody):
    """Tickets to add, or to withdraw when negative."""

    model_config = _with_example({"change": 20})

    change: Annotated[StrictInt, Field(ge=-MAX_CAPACITY, le=MAX_CAPACITY)] = Field(
        description="Not 0, and not below 0 left.", json_schema_extra={"not": {"const": 0}}
    )


class Health(BaseModel):
    status: Literal["ok"] = "ok"
