"""The OpenAPI description of the public routes, which are plain ASGI."""

from collections.abc import Mapping
from typing import Any, get_args

from gateway.purchases.openapi import header_parameter
from gateway.purchases.request_body import MAX_INT4
from gateway.sales.rules import SaleState
from gateway.sales.store import LIST_MAX, TICKET_TYPES_MAX, TICKET_TYPES_OF_LISTED_MAX
from shared.config.currencies import CURRENCY_PATTERN
from shared.errors import NotFound, Unavailable
from shared.row_ids import MAX_ID
from shared.web.openapi import Responses, error_responses, headers

TAGS = ["Sales"]
HEADERS = {
    "Cache-Control": "public, max-age=1, stale-while-revalidate=5",
    "ETag": 'W/"5ecb65fda444dee6"',
}
CACHED = {"Cache-Control": "public, max-age=1"}
NOW = "2026-11-29T12:00:00.123Z"
LISTED: Mapping[str, Any] = {
    "event": 1,
    "title": "Open-air concert",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
    "currency": "EUR",
    "state": "not_open",
    "opens_at": "2026-12-01T10:00:00Z",
}
TICKET_TYPE: Mapping[str, Any] = {
    "id": 1,
    "name": "Standing",
    "price": "100.00",
    "sales_start": "2026-12-01T10:00:00Z",
    "sales_end": None,
    "max_per_purchase": 10,
    "max_per_user": 4,
    "hold_seconds": 600,
    "state": "not_open",
    "left": 500,
}
SALE: Mapping[str, Any] = {
    "event": 1,
    "title": "Open-air concert",
    "description": "Doors open at 18:00.",
    "start_time": "2027-06-05T18:00:00Z",
    "end_time": "2027-06-05T23:00:00Z",
    "currency": "EUR",
    "max_per_user": 8,
    "notice": "",
    "payment_url": "https://shop.example/pay",
    "now": NOW,
    "stale": False,
    "ticket_types": [TICKET_TYPE],
}

ID = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}
TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
COUNT = {"type": "integer", "minimum": 1, "maximum": MAX_INT4}
COUNT_OR_NULL = {**COUNT, "type": ["integer", "null"]}
STATE = {
    "$ref": "#/components/schemas/SaleState",
    "description": "`closed`: ended; `not_open`: before `sales_start`; `paused`: by its owner;"
    " `on_sale`; `all_held`: none is left, but some may come back; `sold_out`.",
}
CURRENCY = {"type": "string", "pattern": CURRENCY_PATTERN}
CLOCK = {
    "now": {**TIME, "description": "By the clock that opens and closes sales."},
    "stale": {
        "type": "boolean",
        "description": "Whether it may be older than a second (a minute at most), because the"
        " database does not answer.",
    },
}


def _object(
    description: str, example: Mapping[str, Any], /, **properties: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
        "examples": [example],
    }


SCHEMAS: Mapping[str, Any] = {
    "SaleState": {"type": "string", "enum": list(get_args(SaleState.__value__))},
    "SaleTicketType": _object(
        "A ticket type of a published sale.",
        TICKET_TYPE,
        id=ID,
        name=TEXT,
        price={"type": "string", "pattern": r"^[0-9]{1,10}\.[0-9]{2}$"},
        sales_start=TIME_OR_NULL,
        sales_end=TIME_OR_NULL,
        max_per_purchase=COUNT,
        max_per_user=COUNT_OR_NULL,
        hold_seconds=COUNT_OR_NULL,
        state=STATE,
        left={
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "Tickets; null unless the event has `show_left`.",
        },
    ),
    "Sale": _object(
        "A published event with its ticket types.",
        SALE,
        event=ID,
        title=TEXT,
        description=TEXT,
        start_time=TIME,
        end_time=TIME,
        currency=CURRENCY,
        max_per_user=COUNT_OR_NULL,
        notice={**TEXT, "description": "What its owner has to say; empty: nothing."},
        payment_url={
            "type": ["string", "null"],
            "format": "uri",
            "description": "Where its buyers pay.",
        },
        **CLOCK,
        ticket_types={
            "type": "array",
            "maxItems": TICKET_TYPES_MAX,
            "items": {"$ref": "#/components/schemas/SaleTicketType"},
        },
    ),
    "SaleSummary": _object(
        "A published event.",
        LISTED,
        event=ID,
        title=TEXT,
        start_time=TIME,
        end_time=TIME,
        currency=CURRENCY,
        state={
            **STATE,
            "description": "The first of `on_sale`, `all_held`, `paused`, `not_open`, `sold_out`"
            " and `closed` that one of its ticket types has.",
        },
        opens_at={
            **TIME_OR_NULL,
            "description": "Of `not_open`: when its first ticket type opens.",
        },
    ),
    "SaleList": _object(
        "The published events that have not ended.",
        {"now": NOW, "stale": False, "sales": [LISTED]},
        **CLOCK,
        sales={
            "type": "array",
            "maxItems": LIST_MAX,
            "description": "Soonest first.",
            "items": {"$ref": "#/components/schemas/SaleSummary"},
        },
    ),
}
IF_NONE_MATCH = header_parameter("If-None-Match", "The ETags that the client has.")


def _responses(schema: str, example: Mapping[str, Any]) -> Responses:
    return {
        "200": {
            "description": "At most a second old, or marked as stale",
            "headers": headers(HEADERS),
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{schema}"},
                    "example": example,
                }
            },
        },
        "304": {
            "description": "Not modified, but for the time",
            "headers": headers(HEADERS),
        },
    }


LIST: dict[str, Any] = {
    "tags": TAGS,
    "operationId": "sales.list",
    "summary": "List published sales",
    "description": f"Of at most {LIST_MAX} events, each by its oldest {TICKET_TYPES_OF_LISTED_MAX}"
    " ticket types, without a token. Poll once a second at most.",
    "parameters": [IF_NONE_MATCH],
    "responses": {
        **_responses("SaleList", {"now": NOW, "stale": False, "sales": [LISTED]}),
        **error_responses(Unavailable),
    },
}
READ: dict[str, Any] = {
    "tags": TAGS,
    "operationId": "sales.read",
    "summary": "Read a published sale",
    "description": "What buyers may know of an event's sale, without a token, with its oldest"
    f" {TICKET_TYPES_MAX} ticket types. Poll once a second at most; its states follow the time.",
    "parameters": [
        {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "The event's id.",
            "schema": ID,
            "example": 1,
        },
        IF_NONE_MATCH,
    ],
    "responses": {
        **_responses("Sale", SALE),
        **error_responses(NotFound(headers=CACHED), Unavailable),
    },
}
PATHS: Mapping[str, Any] = {"/api/sales/": {"get": LIST}, "/api/sales/{id}/": {"get": READ}}
