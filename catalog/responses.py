"""Responses of both kinds of rows: JSON with an ETag, and their descriptions in OpenAPI."""

from typing import Any

from fastapi import Response

from catalog.transactions import HAS_PURCHASES
from shared.errors import Conflict, NotFound, PermissionDenied, PreconditionFailed, Problem
from shared.web.openapi import Responses, headers, links_by_id, rate_limits, refusals, too_many
from shared.web.pagination import INVALID_PAGE

Problems = Problem | type[Problem]
Headers = dict[str, str]

# The gateway enforces these limits (gateway/rate_limits/of_catalog.py).
WRITES = rate_limits("catalog-writes")
LISTS = rate_limits("lists")


def json_response(
    body: bytes, etag: str, *, status: int = 200, location: str | None = None
) -> Response:
    located = {"Location": location} if location is not None else {}
    return Response(body, status, {"ETag": etag, **located}, media_type="application/json")


def listing(*problems: Problems) -> Responses:
    refused = refusals(*problems, NotFound(INVALID_PAGE), too_many("lists"), sometimes=LISTS)
    return refused | {200: {"headers": headers({}, LISTS)}}


def reading(etag: Headers) -> Responses:
    unchanged = {"description": "The client has the current state", "headers": headers(etag)}
    return refusals(NotFound) | {200: {"headers": headers(etag)}, 304: unchanged}


def creating(
    headers_of_new: Headers, *problems: Problems, read: str, changes: tuple[str, ...], **links: Any
) -> Responses:
    """Args: operations that read and change what was created; and links to other operations."""
    with_etag = {"header.If-Match": "$response.header.ETag"}
    created = {
        "headers": headers(headers_of_new, WRITES),
        "links": {
            **links_by_id(read),
            **links_by_id(*changes, **with_etag),
            **{name: {"operationId": name, "requestBody": body} for name, body in links.items()},
        },
    }
    return refusals(*problems, too_many("catalog-writes"), sometimes=WRITES) | {201: created}


def changing(etag: Headers, *problems: Problems) -> Responses:
    return _writing(*problems) | {200: {"headers": headers(etag, WRITES)}}


def deleting() -> Responses:
    return _writing(Conflict(HAS_PURCHASES)) | {204: {"headers": headers({}, WRITES)}}


def _writing(*problems: Problems) -> Responses:
    return refusals(
        *(*problems, PermissionDenied, NotFound, PreconditionFailed, too_many("catalog-writes")),
        sometimes=WRITES,
    )
