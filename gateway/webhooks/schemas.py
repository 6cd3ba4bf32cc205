"""The bodies of requests and responses of webhooks."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt
from typing_extensions import TypeAliasType

from shared.row_ids import MAX_ID
from shared.web.openapi import with_example, with_page_of
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody
from shared.webhooks import URL_MAX_CHARACTERS

WebhookKind = TypeAliasType(
    "WebhookKind",
    Literal[
        "issued",
        "withdrawn",
        "confirmed",
        "held",
        "rejected",
        "refused",
        "released",
        "expired",
        "cancelled",
        "extended",
    ],
)
KINDS: Final[tuple[WebhookKind, ...]] = get_args(WebhookKind.__value__)
# A sold-out rush has a thousand of these for each ticket.
NOT_BY_DEFAULT: Final = frozenset({"rejected", "refused"})
DEFAULT_KINDS: Final[list[WebhookKind]] = [kind for kind in KINDS if kind not in NOT_BY_DEFAULT]
DisabledReason = TypeAliasType("DisabledReason", Literal["owner", "gone", "failing"])
DeliveryFailure = TypeAliasType(
    "DeliveryFailure",
    Literal["address", "dns", "connection", "tls", "timeout", "redirect", "status", "gone"],
)

WEBHOOK: dict[str, Any] = {
    "id": 1,
    "url": "https://shop.example/hooks/tickets",
    "event": 7,
    "kinds": ["confirmed", "cancelled"],
    "enabled": False,
    "created_at": "2026-11-22T12:00:00.000000Z",
    "disabled_at": "2026-11-29T12:00:00.000000Z",
    "disabled_reason": "failing",
    "failing_since": "2026-11-26T12:00:00.000000Z",
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwW1tYzBZ8o3A="
DELIVERY_ID = "msg_01a2035e7a5b7c3d8f4e2b1a9c8d7e60"
DELIVERY: dict[str, Any] = {
    "id": DELIVERY_ID,
    "event": 7,
    "first": 101,
    "last": 200,
    "attempt": 2,
    "at": "2026-11-22T12:00:05.000000Z",
    "status": 500,
    "failure": "status",
    "milliseconds": 38,
}


def _each_once(kinds: list[WebhookKind]) -> list[WebhookKind]:
    if len(set(kinds)) < len(kinds):
        raise ValueError("Must name each kind once.")
    return kinds


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_MAX_CHARACTERS,
        description="An https URL with a public address and no user info; no redirect is followed.",
        json_schema_extra={"format": "uri"},
    ),
]
Kinds = Annotated[
    list[WebhookKind],
    AfterValidator(_each_once),
    Field(
        min_length=1,
        max_length=len(KINDS),
        description="The kinds of entries to send.",
        json_schema_extra={"uniqueItems": True},
    ),
]
EventId = Annotated[StrictInt, Field(ge=1, le=MAX_ID)]
Number = Annotated[StrictInt, Field(ge=0, le=MAX_ID)]


class WebhookCreate(RequestBody):
    """A new webhook."""

    model_config = with_example({name: WEBHOOK[name] for name in ("url", "event")})

    url: Url
    event: EventId | None = Field(
        default=None, description="One of your events; null: all, including later ones."
    )
    kinds: Kinds = Field(
        default_factory=lambda: [*DEFAULT_KINDS],
        description="Default: all except `rejected` and `refused`.",
    )


class WebhookUpdate(RequestBody):
    """The fields of a webhook to change."""

    model_config = with_example({"enabled": True})

    url: Url = Field(default_factory=str)
    kinds: Kinds = Field(default_factory=list)
    enabled: StrictBool = Field(
        default_factory=bool, description="An enabled webhook continues where it stopped."
    )


class Webhook(BaseModel):
    """A webhook, without its secret."""

    model_config = with_example(WEBHOOK)

    id: int = Field(ge=1, le=MAX_ID)
    url: str
    event: int | None = Field(ge=1, le=MAX_ID, description="null: all events of its owner.")
    kinds: list[WebhookKind]
    enabled: bool
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None = Field(
        description="`owner`: its owner disabled it; `gone`: the receiver responded with 410;"
        " `failing`: deliveries failed for too long."
    )
    failing_since: datetime | None = Field(
        description="Since when a pending delivery has failed; null: none has."
    )


class WebhookWithSecret(Webhook):
    """A webhook, with its new secret; without it in the response to a repeated request."""

    model_config = with_example(WEBHOOK | {"secret": SECRET})

    secret: str = Field(
        default_factory=str, description="Shown only in this response: a replay has none."
    )


class WebhookPage(Page[Webhook]):
    """One page of a list of webhooks."""

    model_config = with_page_of(WEBHOOK, "/api/webhooks/")


class WebhookRewind(RequestBody):
    """The number to rewind to."""

    model_config = with_example({"after": 100})

    after: Number = Field(description="The entries after this number are sent.")
    event: EventId | None = Field(
        default=None, description="The event; required if the webhook covers all events."
    )


class WebhookPosition(BaseModel):
    """The number after which the webhook receives the event."""

    model_config = with_example({"event": 7, "after": 100})

    event: int = Field(ge=1, le=MAX_ID)
    after: int = Field(ge=0, le=MAX_ID)


class WebhookTest(BaseModel):
    """A test delivery that will be sent."""

    model_config = with_example({"id": DELIVERY_ID})

    id: str = Field(description="Its `webhook-id`, the `id` of its delivery.")


class WebhookDelivery(BaseModel):
    """One attempt to deliver."""

    model_config = with_example(DELIVERY)

    id: str = Field(description="The `webhook-id`, the same for each attempt.")
    event: int | None = Field(
        ge=1, le=MAX_ID, description="`event`, `first`, `last` and `attempt` are null for a test."
    )
    first: int | None = Field(
        ge=1, le=MAX_ID, description="The number of the first entry; null: only a new epoch."
    )
    last: int | None = Field(ge=1, le=MAX_ID, description="The number of the last entry.")
    attempt: int | None = Field(ge=1)
    at: datetime = Field(description="The end of the attempt.")
    status: int | None = Field(ge=100, le=999, description="null: no response.")
    failure: DeliveryFailure | None = Field(description="The class of the failure; null: received.")
    milliseconds: int = Field(ge=0)


class WebhookDeliveryPage(Page[WebhookDelivery]):
    """One page of a list of deliveries."""

    model_config = with_page_of(DELIVERY, "/api/webhooks/1/deliveries/")
