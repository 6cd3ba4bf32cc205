"""Bodies of requests and responses about events."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from catalog.schemas import (
    PerUser,
    ReadOnly,
    Title,
    ViewedId,
    unset,
    with_example,
    with_page_of,
)
from shared.config.currencies import CURRENCIES, CURRENCY_PATTERN, currency
from shared.database.tables import Event
from shared.moments import Moment
from shared.text import TEXT_PATTERN, InNfc, Storable, readable_text
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody

# A page of a list is bounded in bytes; longer descriptions that are stored already stay readable.
DESCRIPTION_MAX_CHARACTERS = 10_000
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=DESCRIPTION_MAX_CHARACTERS),
    InNfc,
    Storable,
    AfterValidator(readable_text),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]


Currency = Annotated[
    str, AfterValidator(currency), Field(json_schema_extra={"enum": sorted(CURRENCIES)})
]

EXAMPLE = {
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
    "currency": "EUR",
    "max_per_user": 8,
}
VIEW_EXAMPLE = {"id": 1, **EXAMPLE, "owner": 1}


class EventBody(RequestBody):
    """An event as its owner describes it."""

    model_config = with_example(EXAMPLE)

    title: Title
    description: Description = ""
    start_time: Moment
    end_time: Moment = Field(description="After `start_time`.")
    currency: Currency = Field(
        default_factory=unset,
        description="Of all its prices (ISO 4217); left out: the default of the server.",
    )
    max_per_user: PerUser | None = Field(
        None, description="Over all its ticket types; null: no limit but theirs."
    )
    id: ReadOnly = None
    owner: ReadOnly = None


class EventPatch(RequestBody):
    """The fields of an event to change."""

    model_config = with_example({"title": "Open-air concert, second night"})

    title: Title = Field(default_factory=unset)
    description: Description = Field(default_factory=unset)
    start_time: Moment = Field(default_factory=unset)
    end_time: Moment = Field(default_factory=unset)
    currency: Currency = Field(default_factory=unset)
    max_per_user: PerUser | None = Field(default_factory=unset)
    id: ReadOnly = None
    owner: ReadOnly = None


class EventView(BaseModel):
    """An event."""

    model_config = with_example(VIEW_EXAMPLE) | ConfigDict(from_attributes=True)

    id: ViewedId
    title: str
    description: str
    start_time: datetime
    end_time: datetime
    owner: ViewedId = Field(
        validation_alias="owner_id", description="The owner's id; only the owner may change it."
    )
    currency: str = Field(
        description="Of all its prices (ISO 4217).",
        json_schema_extra={"pattern": CURRENCY_PATTERN},
    )
    max_per_user: int | None = Field(ge=1, description="Over all its ticket types.")


class EventPage(Page[EventView]):
    """One page of a list of events."""

    model_config = with_page_of(VIEW_EXAMPLE, "/api/events/")


def representation(event: Event) -> bytes:
    """The JSON that clients read."""
    return EventView.model_validate(event).model_dump_json().encode()
