"""What the OpenAPI documents of all services have in common: headers, errors, parameters.

An operation names its own errors. Those that follow from its form are added here: of a malformed
body, of a missing token, of a cross-site request, and 500.
"""

import copy
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.security import HTTPBearer

from shared.auth.caller import KeyScope
from shared.errors import (
    BodyTooLarge,
    BodyTooSlow,
    CrossSiteRequest,
    MalformedBody,
    NotAuthenticated,
    OutOfScope,
    Problem,
    ServerError,
    TooManyRequests,
    problem_classes,
)
from shared.row_ids import MAX_ID
from shared.web.cross_site import SAFE_METHODS
from shared.web.problem_details import PROBLEM_JSON, problem_document

Responses = dict[int | str, dict[str, Any]]

SHORT: Mapping[str, Any] = {
    "description": "Where there were not enough tickets: the lines whose `quantity` exceeded what"
    " was `left` then.",
    "items": {
        "type": "object",
        "required": ["ticket_type", "quantity", "left"],
        "properties": {
            "ticket_type": {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID},
            "quantity": {"type": "integer", "minimum": 1},
            "left": {"type": "integer", "minimum": 0},
        },
    },
}
PROBLEM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "An error (RFC 9457). `code` is for programs, `detail` for people.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "A sentence for a person."},
        "code": {"type": "string", "pattern": "^[a-z_]+$"},
        "errors": {
            "type": "object",
            "description": "For validation: the messages of each field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "id": {"type": "string", "format": "uuid", "description": "Of a rejected purchase."},
        "epoch": {"type": "string", "description": "Of the restored database's ledgers."},
        "short": {"type": "array", "minItems": 1, **SHORT},
    },
}
HEADERS: Mapping[str, str] = {
    "Cache-Control": "Which caches may store the response, and for how long.",
    "Connection": "`close`: the connection is closed after this response.",
    "ETag": "The version of the resource, for `If-None-Match` and `If-Match`.",
    "Idempotency-Replayed": "`true`: an earlier request had the same key and body.",
    "Location": "The URL of the resource.",
    "Preference-Applied": "The wait that was applied.",
    "RateLimit": "`r`: requests left; `t`: seconds until there are more.",
    "RateLimit-Policy": "`q`: size of a burst; `w`: seconds until all of it is available again.",
    "Retry-After": "Seconds to wait before the next request.",
    "Vary": "The request headers that the response depends on.",
    "WWW-Authenticate": "How to authenticate (RFC 6750).",
    "X-Request-ID": "The id of the request in all logs: the one that was sent, or a new one.",
}
ETAG = {"ETag": '"0123456789abcdef0123456789abcdef"'}
TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
SECONDS: Mapping[str, Any] = {"type": "integer", "minimum": 0}
REQUEST_ID = "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e60"
REQUEST_ID_PARAMETER: Mapping[str, Any] = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "An id for this request, to find it in the logs. Used if it is 1-128 of"
    " `A-Z a-z 0-9 . _ : + / = @ -`.",
    "schema": {"type": "string"},
}
# FastAPI adds a 422 that is never sent: validation errors are 400 here.
FASTAPI_SCHEMAS = ("HTTPValidationError", "ValidationError")

# Only documents the scheme: each service checks tokens by `shared.auth.tokens`.
bearer = HTTPBearer(
    scheme_name="bearerAuth",
    bearerFormat="JWT",
    description=(
        "The `access` token of `POST /api/token/`, or an access token of an issuer that the"
        " operator trusts."
    ),
    auto_error=False,
)
KEY_SCHEME = "apiKey"
KEY_SECURITY: Mapping[str, Any] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "evk_...",
    "description": "A key of `POST /api/keys/`. It acts as its owner where it has the scope that is"
    " named here; operations that name none take a token only.",
}


def security_of(scope: KeyScope) -> list[dict[str, list[str]]]:
    """A user's token, or a key with this scope."""
    return [{bearer.scheme_name: []}, {KEY_SCHEME: [scope.value]}]


def headers(
    always: Mapping[str, str], sometimes: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """The headers of a response, each with an example."""
    return {
        name: {
            "description": HEADERS[name],
            "required": name in always,
            "schema": SECONDS if name == "Retry-After" else TEXT,
            "example": int(example) if name == "Retry-After" else example,
        }
        for name, example in {**always, **(sometimes or {})}.items()
    }


def rate_limits(policy: str) -> dict[str, str]:
    """The headers that report a rate limit, with an example of each."""
    return {"RateLimit": f'"{policy}";r=19;t=1', "RateLimit-Policy": f'"{policy}";q=20;w=4'}


def too_many(policy: str) -> TooManyRequests:
    return TooManyRequests(headers={"Retry-After": "1", **rate_limits(policy)})


def error_responses(
    *problems: Problem | type[Problem], sometimes: Mapping[str, str] | None = None
) -> Responses:
    """The error responses of an operation; each status has an example of each code.

    Args:
        problems: the class, or an instance that shows the detail of this operation.
        sometimes: headers that any of these responses may have, besides its own.
    """
    by_status: dict[int, list[Problem]] = {}
    for problem in problems:
        shown = problem if isinstance(problem, Problem) else problem()
        by_status.setdefault(shown.status, []).append(shown)
    return {
        str(status): _response(status, shown, sometimes or {})
        for status, shown in by_status.items()
    }


def _response(status: int, problems: list[Problem], sometimes: Mapping[str, str]) -> dict[str, Any]:
    always = set.intersection(*(set(problem.headers) for problem in problems))
    examples = {name: value for problem in problems for name, value in problem.headers.items()}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers(
            {name: value for name, value in examples.items() if name in always},
            {**sometimes, **examples},
        ),
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    problem.code: {"summary": problem.detail, "value": problem_document(problem)}
                    for problem in problems
                },
            }
        },
    }


def links_by_id(*operation_ids: str, **parameters: str) -> dict[str, dict[str, Any]]:
    """Links to the operations that take the `id` of the response, and other parameters."""
    all_parameters = {"id": "$response.body#/id", **parameters}
    return {
        operation_id: {"operationId": operation_id, "parameters": all_parameters}
        for operation_id in operation_ids
    }


def error_table() -> str:
    """Every error code, as a table in Markdown."""
    rows = sorted({(p.status, p.code, p.default_detail) for p in problem_classes()})
    lines = (f"| {status} | `{code}` | {detail} |" for status, code, detail in rows)
    return "\n".join(("| status | code | detail |", "| --- | --- | --- |", *lines))


class DocumentedApp(FastAPI):
    """A FastAPI application whose document has the errors and headers of every response."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return super().openapi()


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the document with what all operations have in common."""
    completed = copy.deepcopy(dict(document))
    components = completed.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in FASTAPI_SCHEMAS:
        schemas.pop(name, None)
    components["schemas"] = {**_with_whole_bounds(schemas), "Problem": PROBLEM_SCHEMA}
    components["parameters"] = {"X-Request-ID": REQUEST_ID_PARAMETER}
    components.setdefault("securitySchemes", {})[KEY_SCHEME] = KEY_SECURITY
    for operations in completed["paths"].values():
        for method, operation in operations.items():
            _complete_operation(method, operation)
    return completed


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    for status, response in error_responses(*_errors_by_form(method, operation)).items():
        described = responses.setdefault(status, response)
        for media_type, content in response["content"].items():
            shown = described["content"][media_type]["examples"]
            shown |= {code: e for code, e in content["examples"].items() if code not in shown}
    for response in responses.values():
        response["headers"] = response.get("headers", {}) | headers({"X-Request-ID": REQUEST_ID})
    operation["responses"] = dict(sorted(responses.items()))
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = _without_null(parameter["schema"])
    parameters.append({"$ref": "#/components/parameters/X-Request-ID"})


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string or header cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    others = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**others, **kinds[0]} if len(kinds) == 1 else {**others, "anyOf": kinds}


def _with_whole_bounds(schema: Any) -> Any:
    """FastAPI writes all bounds as floats, which cannot hold the largest id."""
    if isinstance(schema, dict):
        return {name: _with_whole_bounds(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_with_whole_bounds(value) for value in schema]
    if isinstance(schema, float) and schema.is_integer():
        return min(int(schema), MAX_ID)
    return schema


def _errors_by_form(method: str, operation: Mapping[str, Any]) -> list[type[Problem]]:
    of_site = [CrossSiteRequest] if method.upper() not in SAFE_METHODS else []
    of_body = [MalformedBody, BodyTooSlow, BodyTooLarge] if "requestBody" in operation else []
    of_token = [NotAuthenticated, OutOfScope] if operation.get("security") else []
    return [*of_body, *of_token, *of_site, ServerError]
