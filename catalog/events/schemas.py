"""Bodies of requests and responses about events."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints
from typing_extensions import TypeAliasType

from catalog.events import payment_url
from catalog.schemas import TIMES_EXAMPLE, PerUser, ReadOnly, Title, ViewedId, unset
from shared.config.currencies import CURRENCIES, CURRENCY_PATTERN, currency_form
from shared.database import tables
from shared.moments import Moment
from shared.text import TEXT_PATTERN, InNfc, Storable, readable_text
from shared.web.openapi import with_example, with_page_of
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody

# A page of a list is bounded in bytes; longer descriptions that are stored already stay readable.
DESCRIPTION_MAX_CHARACTERS = 10_000
NOTICE_MAX_CHARACTERS = 500
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=DESCRIPTION_MAX_CHARACTERS),
    InNfc,
    Storable,
    AfterValidator(readable_text),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]
Notice = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=NOTICE_MAX_CHARACTERS),
    InNfc,
    Storable,
    AfterValidator(readable_text),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]
PaymentUrl = Annotated[
    str,
    StringConstraints(max_length=payment_url.MAX_CHARACTERS),
    AfterValidator(payment_url.payment_url),
    Field(json_schema_extra={"format": "uri", "pattern": payment_url.PATTERN}),
]
PAYMENT_URL = "Where its buyers pay: http or https, without user info; null: nowhere."
PUBLISHED = "Whether everybody may read its sale, without a token (`/api/sales/{id}/`)."
SHOW_LEFT = "Whether its published sale says how many tickets are left."
NOTICE = "For all who wait or look at its sale; set by `notice/`."


# An event may keep a code that was withdrawn since (`catalog.rules.check_currency`).
Currency = TypeAliasType(
    "Currency",
    Annotated[
        str, AfterValidator(currency_form), Field(json_schema_extra={"enum": sorted(CURRENCIES)})
    ],
)

EXAMPLE = {
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
    "currency": "EUR",
    "max_per_user": 8,
    "published": True,
    "show_left": False,
    "payment_url": "https://shop.example/pay",
}
VIEW_EXAMPLE = {
    "id": 1,
    **EXAMPLE,
    "owner": 1,
    "notice": "Doors open half an hour later.",
    **TIMES_EXAMPLE,
}


class EventCreate(RequestBody):
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
    published: StrictBool = Field(False, description=PUBLISHED)
    show_left: StrictBool = Field(False, description=SHOW_LEFT)
    payment_url: PaymentUrl | None = Field(None, description=PAYMENT_URL)
    id: ReadOnly = None
    owner: ReadOnly = None
    notice: ReadOnly = None
    created_at: ReadOnly = None
    updated_at: ReadOnly = None


class EventUpdate(RequestBody):
    """The fields of an event to change."""

    model_config = with_example({"title": "Open-air concert, second night"})

    title: Title = Field(default_factory=unset)
    description: Description = Field(default_factory=unset)
    start_time: Moment = Field(default_factory=unset)
    end_time: Moment = Field(default_factory=unset)
    currency: Currency = Field(default_factory=unset)
    max_per_user: PerUser | None = Field(default_factory=unset)
    published: StrictBool = Field(default_factory=unset)
    show_left: StrictBool = Field(default_factory=unset)
    payment_url: PaymentUrl | None = Field(default_factory=unset)
    id: ReadOnly = None
    owner: ReadOnly = None
    notice: ReadOnly = None
    created_at: ReadOnly = None
    updated_at: ReadOnly = None


class NoticeUpdate(RequestBody):
    """What the owner of an event says to all who wait."""

    model_config = with_example({"text": "Doors open half an hour later."})

    text: Notice = Field(description="Empty: nothing.")


class Event(BaseModel):
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
    published: bool = Field(description=PUBLISHED)
    show_left: bool = Field(description=SHOW_LEFT)
    payment_url: str | None = Field(description=PAYMENT_URL)
    notice: str = Field(description=NOTICE)
    created_at: datetime
    updated_at: datetime = Field(description="Of the last change of any of its fields.")


class EventPage(Page[Event]):
    """One page of a list of events."""

    model_config = with_page_of(VIEW_EXAMPLE, "/api/events/")


def representation(event: tables.Event) -> bytes:
    """The JSON that clients read."""
    return Event.model_validate(event).model_dump_json().encode()
