"""The OpenAPI description of the hand-written purchase routes."""

from typing import Any

from shared.problem_details import PROBLEM_JSON

ID = "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e6f"
TAGS = ["Purchases"]
SECURITY: list[dict[str, list[str]]] = [{"bearerAuth": []}]
PURCHASE = {"$ref": "#/components/schemas/Purchase"}

QUEUED_EXAMPLE = {
    "id": ID,
    "ticket_type": 1,
    "event": 1,
    "quantity": 2,
    "unit_price": "100.00",
    "total_price": "200.00",
    "status": "queued",
    "reason": None,
    "created_at": "2026-11-22T12:00:00.000000Z",
    "decided_at": None,
    "position": 41,
    "estimated_wait_seconds": 0.1,
}
CONFIRMED_EXAMPLE = {
    name: value
    for name, value in QUEUED_EXAMPLE.items()
    if name not in ("position", "estimated_wait_seconds")
} | {"status": "confirmed", "decided_at": "2026-11-22T12:00:00.012345Z"}
SOLD_OUT_EXAMPLE = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "Not enough tickets available",
    "code": "not_enough_tickets",
    "id": ID,
}

PURCHASE_SCHEMAS: dict[str, Any] = {
    "PurchaseRequest": {
        "type": "object",
        "required": ["ticket_type", "quantity"],
        "properties": {
            "ticket_type": {"type": "integer", "format": "int64", "minimum": 1},
            "quantity": {
                "type": "integer",
                "format": "int32",
                "minimum": 1,
                "description": "At most the ticket type's `max_per_purchase`.",
            },
        },
        "examples": [{"ticket_type": 1, "quantity": 2}],
    },
    "Purchase": {
        "type": "object",
        "required": list(CONFIRMED_EXAMPLE),
        "properties": {
            "id": {"type": "string", "format": "uuid", "description": "A UUIDv7."},
            "ticket_type": {"type": "integer", "format": "int64"},
            "event": {"type": "integer", "format": "int64"},
            "quantity": {"type": "integer", "format": "int32"},
            "unit_price": {"type": "string", "description": "As it was at acceptance."},
            "total_price": {"type": "string"},
            "status": {"type": "string", "enum": ["queued", "confirmed", "rejected"]},
            "reason": {
                "type": ["string", "null"],
                "description": "Why it was rejected: `not_enough_tickets`, `over_user_limit`.",
            },
            "created_at": {"type": "string", "format": "date-time"},
            "decided_at": {"type": ["string", "null"], "format": "date-time"},
            "position": {
                "type": "integer",
                "description": "While queued: the requests ahead of it.",
            },
            "estimated_wait_seconds": {"type": "number", "description": "While queued."},
        },
        "examples": [CONFIRMED_EXAMPLE, QUEUED_EXAMPLE],
    },
    "PurchasePage": {
        "type": "object",
        "required": ["count", "next", "previous", "results"],
        "properties": {
            "count": {"type": "integer"},
            "next": {"type": ["string", "null"], "format": "uri"},
            "previous": {"type": ["string", "null"], "format": "uri"},
            "results": {"type": "array", "items": PURCHASE},
        },
    },
}


def _header(description: str, example: str | int) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    return {"description": description, "schema": {"type": kind}, "example": example}


LOCATION = _header("Where to ask for the outcome.", f"/api/ticket-purchases/{ID}/")
RETRY_AFTER = _header("Seconds until it is worth asking again.", 1)
PREFERENCE_APPLIED = _header("The wait that was granted.", "wait=10")
REPLAYED = _header("`true`: an earlier request had the same key and body.", "true")
ETAG = _header("Changes when the purchase does.", '"5d41402a"')


def _purchase(description: str, example: dict[str, Any], **headers: Any) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name.replace("_", "-"): header for name, header in headers.items()},
        "content": {"application/json": {"schema": PURCHASE, "example": example}},
    }


def _filter(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _problem(description: str, **more: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}} | more
    return {"description": description, "content": {PROBLEM_JSON: content}}


PURCHASE_PATHS: dict[str, Any] = {
    "/api/ticket-purchases/": {
        "get": {
            "tags": TAGS,
            "operationId": "list_purchases",
            "summary": "List one's own purchases, newest first",
            "security": SECURITY,
            "parameters": [
                _filter("status", type="string", enum=["queued", "confirmed", "rejected"]),
                _filter("ticket_type", type="integer", format="int64", minimum=1),
                _filter("page", type="integer", minimum=1),
                _filter("page_size", type="integer", minimum=1),
            ],
            "responses": {
                "200": {
                    "description": "A page of purchases",
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/PurchasePage"}
                        }
                    },
                },
                "400": _problem("A filter is not valid"),
                "401": _problem("No token, or a bad one"),
                "404": _problem("There is no such page"),
                "503": _problem("Cannot be told for now; nothing is lost"),
            },
        },
        "post": {
            "tags": TAGS,
            "operationId": "buy",
            "summary": "Buy tickets",
            "description": "The request is stored durably before the answer leaves; it is decided"
            " in the order of acceptance. Send an `Idempotency-Key` to be able to retry safely.",
            "security": SECURITY,
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "The same key and body give the same purchase.",
                    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
                },
                {
                    "name": "Prefer",
                    "in": "header",
                    "description": "`wait=N`: wait up to N seconds (at most 30) for the decision.",
                    "schema": {"type": "string"},
                    "example": "wait=10",
                },
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/PurchaseRequest"}}
                },
            },
            "responses": {
                "200": _purchase(
                    "Decided earlier, under the same key",
                    CONFIRMED_EXAMPLE,
                    Location=LOCATION,
                    Idempotency_Replayed=REPLAYED,
                ),
                "201": _purchase(
                    "Confirmed within the wait",
                    CONFIRMED_EXAMPLE,
                    Location=LOCATION,
                    Preference_Applied=PREFERENCE_APPLIED,
                ),
                "202": _purchase(
                    "Accepted and queued",
                    QUEUED_EXAMPLE,
                    Location=LOCATION,
                    Retry_After=RETRY_AFTER,
                    Idempotency_Replayed=REPLAYED,
                ),
                "400": _problem(
                    "Not valid, not on sale, sold out, or rejected within the wait",
                    example=SOLD_OUT_EXAMPLE,
                ),
                "401": _problem("No token, or a bad one"),
                "413": _problem("The body is too large"),
                "422": _problem("The key was used before with another body"),
                "503": _problem("Not accepted for now; retry with the same key"),
            },
        },
    },
    "/api/ticket-purchases/{id}/": {
        "get": {
            "tags": TAGS,
            "operationId": "read_purchase",
            "summary": "Ask what became of a purchase",
            "security": SECURITY,
            "parameters": [
                {
                    "name": "id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "format": "uuid"},
                    "example": ID,
                },
                {
                    "name": "wait",
                    "in": "query",
                    "description": "Answer at the decision, or after so many seconds (at most 30).",
                    "schema": {"type": "integer", "minimum": 0},
                },
                {
                    "name": "If-None-Match",
                    "in": "header",
                    "schema": {"type": "string"},
                    "description": "An ETag that the client has already.",
                },
            ],
            "responses": {
                "200": _purchase(
                    "The purchase as it stands",
                    CONFIRMED_EXAMPLE,
                    ETag=ETAG,
                    Retry_After=RETRY_AFTER,
                ),
                "304": {"description": "Nothing has changed", "headers": {"ETag": ETAG}},
                "400": _problem("`wait` is not a number"),
                "401": _problem("No token, or a bad one"),
                "404": _problem("There is no such purchase of yours"),
                "503": _problem("Cannot be told for now; nothing is lost"),
            },
        }
    },
}
