"""How refusals stand in the OpenAPI document."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from shared.problem_details import PROBLEM_JSON

PROBLEM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "A refusal (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Bad Request"]},
        "status": {"type": "integer", "examples": [400]},
        "detail": {"type": "string", "examples": ["Some fields are not valid."]},
        "code": {"type": "string", "examples": ["invalid"]},
        "errors": {
            "type": "object",
            "description": "For validation: the messages of each field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of an operation that may be refused with these statuses.

    `default` stands for every other refusal, and keeps FastAPI from promising a 422.
    """
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }
    return told | {"default": {"description": "Any other refusal", "content": content}}
