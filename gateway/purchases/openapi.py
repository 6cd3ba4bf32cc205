"""The OpenAPI description of the two hot purchase routes, which are plain ASGI.

It is written by hand: FastAPI leaves `null` out of examples, and purchases have such fields.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec
from typing_extensions import TypeAliasType

from gateway.purchases.request_body import BUYER_MAX_CHARACTERS, LINES_MAX, MAX_INT4
from shared.auth.caller import KeyScope
from shared.config.currencies import CURRENCY_PATTERN
from shared.errors import (
    AllHeld,
    IdempotencyKeyReused,
    InvalidInput,
    NotEnoughTickets,
    NotFound,
    NotYourEvent,
    OverUserLimit,
    PermissionDenied,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    TooManyExpiredHolds,
    Unavailable,
)
from shared.row_ids import MAX_ID, NOT_AN_ID
from shared.web.idempotency_key import KEY_PATTERN
from shared.web.openapi import (
    SHORTAGE,
    Responses,
    error_responses,
    headers,
    links_by_id,
    rate_limits,
    secured_by,
    too_many,
)
from shared.web.pagination import BEYOND_THE_END

ID = "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e6f"
TAGS = ["Purchases"]
PURCHASE = {"$ref": "#/components/schemas/Purchase"}
ETAG = '"5d41402a"'
LOCATION = f"/api/ticket-purchases/{ID}/"
REJECTED_HEADERS = {
    "Location": LOCATION,
    "Preference-Applied": "wait=10",
    "Idempotency-Replayed": "true",
}
VARY = {"Vary": "Authorization, Accept"}
NOT_STORED = VARY | {"Cache-Control": "no-store"}
PURCHASE_ID: Mapping[str, Any] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Its id.",
    "schema": {"type": "string", "format": "uuid"},
    "example": ID,
}
LIMITED_BY = rate_limits("purchases")
LISTS_LIMITED_BY = rate_limits("lists")
RETRY = Unavailable("Temporarily unavailable; nothing is lost, retry.")

ITEM = {"ticket_type": 1, "quantity": 2, "unit_price": "100.00", "total_price": "200.00"}
CONFIRMED: Mapping[str, Any] = {
    "id": ID,
    "ticket_type": 1,
    "event": 1,
    "quantity": 2,
    "unit_price": "100.00",
    "total_price": "200.00",
    "status": "confirmed",
    "reason": None,
    "created_at": "2026-11-22T12:00:00.000000Z",
    "decided_at": "2026-11-22T12:00:00.012345Z",
    "items": [ITEM],
    "currency": "EUR",
    "short": None,
}
CART_ITEMS = [
    ITEM,
    {"ticket_type": 3, "quantity": 1, "unit_price": "50.00", "total_price": "50.00"},
]
CART = {
    **CONFIRMED,
    "ticket_type": None,
    "quantity": None,
    "unit_price": None,
    "total_price": "250.00",
    "items": CART_ITEMS,
}
HELD = {
    **CART,
    "status": "held",
    "held_until": "2026-11-22T12:10:00.012345Z",
    "seconds_left": 599,
}
PAID = {
    **CART,
    "items": [{**item, "cancelled_quantity": 0} for item in CART_ITEMS],
    "payment_reference": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
    "resolved_at": "2026-11-22T12:01:00.123456Z",
    "cancelled_quantity": 0,
}
RELEASED = {**PAID, "status": "released", "payment_reference": None}
CANCELLED = {
    **PAID,
    "items": [
        {**CART_ITEMS[0], "cancelled_quantity": 1},
        {**CART_ITEMS[1], "cancelled_quantity": 0},
    ],
    "cancelled_quantity": 1,
}
REJECTED = {
    **CART,
    "status": "rejected",
    "reason": "not_enough_tickets",
    "short": [{"ticket_type": 3, "quantity": 1, "left": 0}],
}
QUEUED = {
    **CONFIRMED,
    "status": "queued",
    "decided_at": None,
    "position": 41,
    "estimated_wait_seconds": 0.1,
}
EXAMPLES = {
    "confirmed": CONFIRMED,
    "cart": CART,
    "held": HELD,
    "paid": PAID,
    "released": RELEASED,
    "partly cancelled": CANCELLED,
    "rejected": REJECTED,
    "queued": QUEUED,
}
PurchaseStatus = TypeAliasType(
    "PurchaseStatus",
    Literal["queued", "held", "confirmed", "rejected", "released", "expired", "cancelled"],
)
ONE_LINE = {"ticket_type": 1, "quantity": 2}
SEVERAL_LINES = {"items": [ONE_LINE, {"ticket_type": 3, "quantity": 1}]}

BUYER: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": BUYER_MAX_CHARACTERS,
    # As much of "printable" as a pattern can say.
    "pattern": r"^[^\u0000-\u001f\u007f-\u00a0\u00ad\u2028\u2029]+$",
    "description": "Whom an API key of the event's owner buys for. Limits count for each buyer.",
}
MONEY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2}$"}
ROW_ID = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}
QUANTITY = {"type": "integer", "format": "int32", "minimum": 1, "maximum": MAX_INT4}
OF_ONE_LINE = "null if the purchase has several `items`."


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _line(**more: Any) -> dict[str, Any]:
    at_most = "At most the ticket type's `max_per_purchase`."
    return {
        "type": "object",
        "description": "Tickets of one type.",
        "required": list(ONE_LINE),
        "additionalProperties": False,
        "properties": {
            "ticket_type": ROW_ID,
            "quantity": {**QUANTITY, "description": at_most},
            **more,
        },
        "examples": [ONE_LINE],
    }


SCHEMAS: Mapping[str, Any] = {
    "PurchaseLine": _line(),
    "PurchaseCreate": _line(buyer=BUYER),
    "CartCreate": {
        "type": "object",
        "description": "Tickets of several types of one event: all of them or none.",
        "required": ["items"],
        "additionalProperties": False,
        "properties": {
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": LINES_MAX,
                "description": "Each ticket type once.",
                "items": {"$ref": "#/components/schemas/PurchaseLine"},
            },
            "buyer": BUYER,
        },
        "examples": [SEVERAL_LINES],
    },
    "PurchaseRequest": {
        "description": "Tickets of one type, or of several.",
        "oneOf": [
            {"$ref": "#/components/schemas/PurchaseCreate"},
            {"$ref": "#/components/schemas/CartCreate"},
        ],
    },
    SHORTAGE: {
        "type": "object",
        "description": "A line whose `quantity` exceeded what was `left` then.",
        "required": ["ticket_type", "quantity", "left"],
        "properties": {
            "ticket_type": ROW_ID,
            "quantity": QUANTITY,
            "left": {**QUANTITY, "minimum": 0},
        },
    },
    "PurchaseStatus": {"type": "string", "enum": list(get_args(PurchaseStatus.__value__))},
    "RejectionReason": {
        "type": "string",
        "enum": ["not_enough_tickets", "all_held", "over_user_limit"],
    },
    "PurchaseItem": {
        "type": "object",
        "description": "A line of a purchase.",
        "required": list(ITEM),
        "properties": {
            "ticket_type": ROW_ID,
            "quantity": QUANTITY,
            "unit_price": {**MONEY, "description": "The price at acceptance."},
            "total_price": MONEY,
            "cancelled_quantity": {
                "type": "integer",
                "minimum": 0,
                "description": "After a hold or a cancellation: tickets that were cancelled.",
            },
        },
        "examples": [ITEM],
    },
    "Purchase": {
        "type": "object",
        "description": "`queued` at first; then `confirmed`, `rejected`, or `held` for its payment."
        " A held one becomes `confirmed`, `released` or `expired`; a confirmed one may be"
        " `cancelled`.",
        "required": list(CONFIRMED),
        "properties": {
            "id": {"type": "string", "format": "uuid", "description": "A UUIDv7."},
            "ticket_type": {**_nullable(ROW_ID), "description": OF_ONE_LINE},
            "event": ROW_ID,
            "quantity": {**_nullable(QUANTITY), "description": OF_ONE_LINE},
            "unit_price": {**_nullable(MONEY), "description": OF_ONE_LINE},
            "total_price": MONEY,
            "status": {
                "$ref": "#/components/schemas/PurchaseStatus",
                "description": "`cancelled`: all of it.",
            },
            "reason": {
                "anyOf": [{"$ref": "#/components/schemas/RejectionReason"}, {"type": "null"}],
                "description": "The reason of a rejection.",
            },
            "created_at": {"type": "string", "format": "date-time"},
            "decided_at": {"type": ["string", "null"], "format": "date-time"},
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": LINES_MAX,
                "description": "In the order of the request.",
                "items": {"$ref": "#/components/schemas/PurchaseItem"},
            },
            "buyer": {**BUYER, "description": "Left out where the account bought for itself."},
            "currency": {
                "type": "string",
                "pattern": CURRENCY_PATTERN,
                "description": "Of the event at acceptance (ISO 4217).",
            },
            "short": {
                "type": ["array", "null"],
                "minItems": 1,
                "items": {"$ref": f"#/components/schemas/{SHORTAGE}"},
                "description": "Where there were not enough tickets: the lines that were short.",
            },
            "held_until": {
                "type": "string",
                "format": "date-time",
                "description": "While held.",
            },
            "seconds_left": {
                "type": "integer",
                "minimum": 0,
                "description": "While held: until `held_until`.",
            },
            "payment_reference": {
                "type": ["string", "null"],
                "description": "After a hold: of the payment that confirmed it.",
            },
            "resolved_at": {
                "type": "string",
                "format": "date-time",
                "description": "After a hold or a cancellation: of its last change.",
            },
            "cancelled_quantity": {
                "type": "integer",
                "minimum": 0,
                "description": "After a hold or a cancellation: tickets that were cancelled.",
            },
            "position": {
                "type": "integer",
                "minimum": 0,
                "description": "While queued: the number of requests ahead of it.",
            },
            "estimated_wait_seconds": {
                "type": "number",
                "minimum": 0,
                "description": "While queued.",
            },
        },
        "examples": list(EXAMPLES.values()),
    },
    "PurchasePage": {
        "type": "object",
        "description": "One page of a list of purchases.",
        "required": ["next", "results"],
        "properties": {
            "count": {
                "type": "integer",
                "minimum": 0,
                "description": "The number of items on all pages. Without `cursor`.",
            },
            "next": {"type": ["string", "null"], "description": "The next page's URL."},
            "previous": {
                "type": ["string", "null"],
                "description": "The previous page's URL. Without `cursor`.",
            },
            "results": {"type": "array", "items": PURCHASE},
        },
        "examples": [{"count": 1, "next": None, "previous": None, "results": [CONFIRMED]}],
    },
}
EVENTS = f"""retry: 1000
event: position
id: 9f3c1a7e
data: {msgspec.json.encode(QUEUED).decode()}

event: outcome
id: 5d41402a
data: {msgspec.json.encode(CONFIRMED).decode()}

"""


def purchase_response(
    description: str,
    *kinds: str,
    always: Mapping[str, str],
    sometimes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A response whose body is a purchase of one of these kinds."""
    content: dict[str, Any] = {
        "application/json": {
            "schema": PURCHASE,
            "examples": {kind: {"value": EXAMPLES[kind]} for kind in kinds},
        }
    }
    return {
        "description": description,
        "headers": headers(always, sometimes),
        "content": content,
    }


def _created(description: str, *kinds: str, **more: Mapping[str, str]) -> dict[str, Any]:
    """A response with the purchase's `Location`."""
    always = {"Location": LOCATION, **more.get("always", {})}
    sometimes = {**more.get("sometimes", {}), **LIMITED_BY}
    response = purchase_response(description, *kinds, always=always, sometimes=sometimes)
    return response | {"links": links_by_id("purchases.read", "purchases.stream")}


def header_parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """Without an example: the pages would send it with every request that is tried out."""
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", **schema},
    }


def idempotency_key(description: str) -> dict[str, Any]:
    return header_parameter("Idempotency-Key", description, pattern=KEY_PATTERN)


LIST_RESPONSES: Responses = {
    200: {
        "headers": headers({}, LISTS_LIMITED_BY),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PurchasePage"}}},
    },
    **error_responses(
        InvalidInput(errors={"ticket_type": [NOT_AN_ID]}),
        PermissionDenied,
        NotFound(BEYOND_THE_END),
        RETRY,
        too_many("lists"),
        sometimes=LISTS_LIMITED_BY,
    ),
}

BUY: dict[str, Any] = {
    "tags": TAGS,
    "operationId": "purchases.create",
    "summary": "Buy tickets",
    "description": "One line, or up to ten `items`: all or nothing. The request is stored durably"
    " before the response, and decided in the order of acceptance. 202 is not a ticket yet: poll"
    " `Location`, or send `Prefer: wait=10` to get the outcome in this response. Send an"
    " `Idempotency-Key` so that a retry is safe.",
    **secured_by(KeyScope.PURCHASE),
    "parameters": [
        idempotency_key(
            "1-255 printable characters, ideally a new UUID for each purchase, in quotes:"
            ' `"8e03978e-40d5-43dd-bc93-6894a57f9324"`. The same key and body give the same'
            " purchase.",
        ),
        header_parameter(
            "Prefer",
            "`wait=10`: wait up to 10 seconds for the decision (RFC 7240); at most 30.",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/PurchaseRequest"},
                "examples": {
                    "one line": {"value": ONE_LINE},
                    "several lines": {"value": SEVERAL_LINES},
                },
            }
        },
    },
    "responses": {
        "201": _created(
            "Confirmed or held within the wait, or earlier with the same key",
            "confirmed",
            "cart",
            "held",
            sometimes={"Preference-Applied": "wait=10", "Idempotency-Replayed": "true"},
        ),
        "202": _created(
            "Accepted and queued",
            "queued",
            always={"Retry-After": "1"},
            sometimes={"Preference-Applied": "wait=10", "Idempotency-Replayed": "true"},
        ),
        **error_responses(
            InvalidInput(errors={"quantity": ["Must be a whole number."]}),
            NotEnoughTickets(
                extra={"id": ID, "short": REJECTED["short"]}, headers=REJECTED_HEADERS
            ),
            AllHeld(
                extra={"id": ID, "short": REJECTED["short"]},
                headers={"Retry-After": "290", **REJECTED_HEADERS},
            ),
            OverUserLimit(extra={"id": ID}, headers=REJECTED_HEADERS),
            SaleNotOpen(headers={"Retry-After": "3600"}),
            SaleClosed,
            SalePaused(headers={"Retry-After": "30"}),
            NotYourEvent,
            IdempotencyKeyReused,
            too_many("purchases"),
            TooManyExpiredHolds(headers={"Retry-After": "1800"}),
            Unavailable,
            sometimes=LIMITED_BY,
        ),
    },
}

READ: dict[str, Any] = {
    "tags": TAGS,
    "operationId": "purchases.read",
    "summary": "Read a purchase",
    "description": "Poll after `Retry-After`, or wait with `?wait=20`. While it is held, a wait"
    " with `If-None-Match` ends at its next change (extended holds: some seconds later). The"
    " event's owner may read it, too. A purchase that is rejected, released, expired or wholly"
    " cancelled never changes and may be cached forever.",
    **secured_by(KeyScope.READ),
    "parameters": [
        PURCHASE_ID,
        {
            "name": "wait",
            "in": "query",
            "description": "Respond at the decision, or after this number of seconds (at most 30).",
            "schema": {"type": "integer", "minimum": 0},
        },
        header_parameter("If-None-Match", "The ETags that the client has."),
    ],
    "responses": {
        "200": purchase_response(
            "The purchase",
            "confirmed",
            "cart",
            "held",
            "paid",
            "released",
            "partly cancelled",
            "rejected",
            "queued",
            always=VARY | {"Cache-Control": "private, no-cache"},
            sometimes={"ETag": ETAG, "Retry-After": "1"},
        ),
        "304": {
            "description": "Not modified",
            "headers": headers(
                VARY | {"ETag": ETAG, "Cache-Control": "private, no-cache"}, {"Retry-After": "1"}
            ),
        },
        **error_responses(
            InvalidInput(errors={"wait": ["Must be a whole number of seconds."]}),
            NotFound,
            RETRY,
        ),
    },
}

STREAM: dict[str, Any] = {
    "tags": TAGS,
    "operationId": "purchases.stream",
    "summary": "Follow a purchase as server-sent events",
    "description": "`position` each time that it moves up, then `outcome`, also when it is held,"
    " which ends the stream; the data of each is the purchase as JSON. The event's owner may read"
    " it, too.",
    **secured_by(KeyScope.READ),
    "parameters": [
        PURCHASE_ID,
        header_parameter("Last-Event-ID", "The id of the last event received."),
    ],
    "responses": {
        "200": {
            "description": "Events, until its outcome",
            "headers": headers(NOT_STORED),
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS}},
        },
        "204": {
            "description": "The client has the outcome: do not reconnect",
            "headers": headers(NOT_STORED),
        },
        **error_responses(NotFound, RETRY),
    },
}

PATHS: Mapping[str, Any] = {
    "/api/ticket-purchases/{id}/events/": {"get": STREAM},
    "/api/ticket-purchases/": {"post": BUY},
    "/api/ticket-purchases/{id}/": {"get": READ},
}
