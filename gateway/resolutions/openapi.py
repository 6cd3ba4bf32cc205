"""The OpenAPI description of the routes that resolve purchases, which are plain ASGI."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from gateway.purchases.openapi import (
    LOCATION,
    PURCHASE_ID,
    header_parameter,
    idempotency_key,
    purchase_response,
)
from gateway.resolutions.schemas import HoldExtend, HoldExtension, PurchaseCancel, PurchaseConfirm
from shared.auth.caller import KeyScope
from shared.errors import (
    REQUIRED,
    AlreadyCancelled,
    AlreadyConfirmed,
    ExtensionLimit,
    HoldExpired,
    HoldReleased,
    IdempotencyKeyReused,
    InvalidInput,
    NotConfirmed,
    NotDecided,
    NotFound,
    NotHeld,
    PaymentReferenceUsed,
    PermissionDenied,
    Problem,
    TooManyCancellations,
    Unavailable,
)
from shared.row_ids import MAX_ID
from shared.web.idempotency_key import KEY_FORM
from shared.web.openapi import (
    error_responses,
    headers,
    rate_limits,
    schemas_of,
    secured_by,
    too_many,
)

NOT_DECIDED = NotDecided(headers={"Retry-After": "1"})
LIMITED_BY = rate_limits("resolutions")
SOMETIMES = {"Preference-Applied": "wait=10", "Idempotency-Replayed": "true", **LIMITED_BY}
PENDING = {"Location": LOCATION, "Retry-After": "1"}
EVENT_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The event's id.",
    "schema": {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID},
}
PREFER = header_parameter(
    "Prefer",
    "`wait=20`: wait up to 20 seconds for the decision (RFC 7240) instead of 10; at most 30."
    " `wait=0`: do not wait.",
)
KEY = idempotency_key(
    "The same key, path and body give the same outcome, with the purchase (the number of open"
    " holds) as it is now."
)


def _body(model: type[BaseModel], *, required: bool) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


def _operation(
    operation_id: str,
    summary: str,
    description: str,
    body: dict[str, Any],
    responses: dict[str, Any],
    *problems: Problem | type[Problem],
    path_parameter: Mapping[str, Any] = PURCHASE_ID,
    key: dict[str, Any] = KEY,
    scope: KeyScope = KeyScope.PAYMENTS,
) -> dict[str, Any]:
    common = (NotFound, IdempotencyKeyReused, too_many("resolutions"), Unavailable)
    return {
        "tags": ["Holds" if operation_id.startswith("holds.") else "Purchases"],
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        **secured_by(scope),
        "parameters": [path_parameter, key, PREFER],
        **body,
        "responses": {
            **responses,
            **error_responses(*problems, *common, sometimes=LIMITED_BY),
        },
    }


def _purchase(
    status: str, description: str, kind: str, always: Mapping[str, str] | None = None
) -> dict[str, Any]:
    response = purchase_response(description, kind, always=always or {}, sometimes=SOMETIMES)
    return {status: response}


UNDECIDED = _purchase("202", "Stored, and not decided within the wait: ask again", "held", PENDING)
EXTENDED = {"application/json": {"schema": {"$ref": "#/components/schemas/HoldExtension"}}}

SCHEMAS = schemas_of(PurchaseConfirm, PurchaseCancel, HoldExtend, HoldExtension)
PATHS: Mapping[str, Any] = {
    "/api/ticket-purchases/{id}/confirm/": {
        "post": _operation(
            "purchases.confirm",
            "Confirm a held purchase by its payment",
            "For the event's owner. A retry with the same reference gets the same outcome. After a"
            " 409 other than `not_decided` the purchase does not become this payment's: void it."
            " But after `payment_reference_used` it may have paid another purchase: release the"
            " hold.",
            _body(PurchaseConfirm, required=True),
            {**_purchase("200", "Confirmed by this payment", "paid"), **UNDECIDED},
            InvalidInput(errors={"amount": ["The purchase's total_price is 250.00."]}),
            PermissionDenied,
            NOT_DECIDED,
            AlreadyConfirmed,
            HoldExpired,
            HoldReleased,
            NotHeld,
            PaymentReferenceUsed,
        )
    },
    "/api/ticket-purchases/{id}/release/": {
        "post": _operation(
            "purchases.release",
            "Give up a hold",
            "For its buyer and the event's owner. Its tickets are on sale again.",
            {},
            {
                **_purchase("200", "Released, now or earlier", "released"),
                **UNDECIDED,
            },
            InvalidInput(errors={"Idempotency-Key": [KEY_FORM]}),
            NOT_DECIDED,
            AlreadyConfirmed,
            HoldExpired,
            NotHeld,
            scope=KeyScope.PURCHASE,
        )
    },
    "/api/ticket-purchases/{id}/cancel/": {
        "post": _operation(
            "purchases.cancel",
            "Cancel tickets of a confirmed purchase",
            "For the event's owner, also after the event. All lines or none. In the response,"
            " `cancelled_quantity` counts all cancellations so far, not this one alone.",
            _body(PurchaseCancel, required=False),
            {
                **_purchase("201", "Cancelled", "partly cancelled", {"Location": LOCATION}),
                **_purchase(
                    "202",
                    "Stored, and not decided within the wait: ask again with the same key",
                    "paid",
                    PENDING,
                ),
            },
            InvalidInput(errors={"Idempotency-Key": [REQUIRED]}),
            PermissionDenied,
            NOT_DECIDED,
            NotConfirmed,
            AlreadyCancelled,
            TooManyCancellations,
            key={**KEY, "required": True},
        )
    },
    "/api/events/{id}/extend-holds/": {
        "post": _operation(
            "holds.extend",
            "Give all open holds of an event more time",
            "For its owner, when the payment provider is down. Later holds have their own time.",
            _body(HoldExtend, required=True),
            {
                "200": {
                    "description": "Extended",
                    "headers": headers({}, SOMETIMES),
                    "content": EXTENDED,
                },
                "202": {
                    "description": "Stored, and not decided within the wait: ask again with the"
                    " same key",
                    "headers": headers({**PENDING, "Location": "/api/events/1/"}, SOMETIMES),
                    "content": EXTENDED,
                },
            },
            InvalidInput(errors={"seconds": ["Must be a whole number."]}),
            PermissionDenied,
            ExtensionLimit,
            path_parameter=EVENT_ID,
            key={**KEY, "required": True},
        )
    },
}
