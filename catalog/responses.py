"""Responses of both kinds of rows: JSON with an ETag, and their descriptions in OpenAPI."""

from fastapi import Response

from catalog.etags import etag_of
from catalog.transactions import HAS_PURCHASES
from shared.database.once import REPLAYED
from shared.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Problem,
)
from shared.web.idempotency_key import KEY_FORM, KEY_PROBLEMS
from shared.web.if_none_match import is_unchanged
from shared.web.openapi import (
    Responses,
    error_responses,
    headers,
    links_by_id,
    rate_limits,
    too_many,
)
from shared.web.pagination import BEYOND_THE_END

Shown = Problem | type[Problem]
Headers = dict[str, str]

# The gateway enforces these limits (gateway/rate_limits/of_catalog.py).
WRITES = rate_limits("catalog-writes")
LISTS = rate_limits("lists")


def json_response(
    body: bytes,
    *,
    etag: str | None = None,
    status: int = 200,
    location: str | None = None,
    if_none_match: str | None = None,
    is_replay: bool = False,
) -> Response:
    """Args: the ETag, where it is not that of the body; where a new row is; what a reader has;
    whether an earlier request with the same key had done it."""
    etag = etag or etag_of(body)
    all_headers = {"ETag": etag} | ({"Location": location} if location is not None else {})
    all_headers |= REPLAYED if is_replay else {}
    if is_unchanged(if_none_match, etag):
        return Response(status_code=304, headers=all_headers)
    return Response(body, status, all_headers, media_type="application/json")


def listing(*problems: Shown) -> Responses:
    refused = error_responses(
        *problems, NotFound(BEYOND_THE_END), too_many("lists"), sometimes=LISTS
    )
    return refused | {200: {"headers": headers({}, LISTS)}}


def reading(etag: Headers) -> Responses:
    unchanged = {"description": "The client has the current state", "headers": headers(etag)}
    return error_responses(NotFound) | {200: {"headers": headers(etag)}, 304: unchanged}


def creating(
    headers_of_new: Headers,
    *problems: Shown,
    read: str,
    changes: tuple[str, ...],
) -> Responses:
    """Args: ids of operations that read and change the new row."""
    with_etag = {"header.If-Match": "$response.header.ETag"}
    created = {
        "headers": headers(headers_of_new, WRITES | REPLAYED),
        "links": links_by_id(read) | links_by_id(*changes, **with_etag),
    }
    problems = (*problems, *KEY_PROBLEMS, too_many("catalog-writes"))
    return error_responses(*problems, sometimes=WRITES) | {201: created}


def changing(etag: Headers, *problems: Shown) -> Responses:
    return _writing(*problems) | {200: {"headers": headers(etag, WRITES)}}


def changing_once(etag: Headers, *problems: Shown) -> Responses:
    """Of a POST, which takes an `Idempotency-Key`."""
    changed = {"headers": headers(etag, WRITES | REPLAYED)}
    malformed = InvalidInput(errors={"Idempotency-Key": [KEY_FORM]})
    return _writing(malformed, *problems, IdempotencyKeyReused) | {200: changed}


def deleting() -> Responses:
    return _writing(Conflict(HAS_PURCHASES)) | {204: {"headers": headers({}, WRITES)}}


def _writing(*problems: Shown) -> Responses:
    return error_responses(
        *(*problems, PermissionDenied, NotFound, PreconditionFailed, too_many("catalog-writes")),
        sometimes=WRITES,
    )
