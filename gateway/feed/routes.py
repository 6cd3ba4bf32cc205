"""The ledger of an event in pages, for its owner."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from starlette.types import Receive, Scope, Send

from gateway.feed.schemas import EPOCH_PATTERN
from gateway.feed.service import Feed, Wanted
from gateway.media_types import preferred
from gateway.purchases.preferences import bounded_seconds
from gateway.purchases.waiting import WaitLimit
from gateway.unread_responses import CountedResponse
from shared.auth.caller import Caller
from shared.config.settings import Settings
from shared.database.export import Format
from shared.database.ledger import KINDS, LedgerPage
from shared.errors import (
    RETRY_AFTER_MAX_SECONDS,
    EpochChanged,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unavailable,
    on_problem,
)
from shared.row_ids import MAX_ID
from shared.web.asgi_extensions import client_leaves
from shared.web.authentication import AuthenticatedRoute, Reader
from shared.web.edge import IS_HEAD
from shared.web.openapi import (
    Responses,
    error_responses,
    headers,
    rate_limits,
    too_many,
)
from shared.web.pagination import public_address
from shared.web.path_id import PathId

PATH: Final = "/api/events/{id}/ledger/"
NDJSON_PATH: Final = PATH + "ndjson/"
CSV_PATH: Final = PATH + "csv/"
JSON, NDJSON, CSV = MEDIA_TYPES = ("application/json", "application/x-ndjson", "text/csv")
ROWS_MAX = 1_000
WHOLE = re.compile(r"[0-9]{1,19}")
IMMUTABLE = "private, max-age=31536000, immutable"
LIMITED_BY = rate_limits("feed")
VARY = {"Vary": "Authorization, Accept"}
ATTACHMENT = 'attachment; filename="event-1.ndjson"'

router = APIRouter(tags=["Feed"], route_class=AuthenticatedRoute)


def _number(text: object) -> int:
    if not WHOLE.fullmatch(str(text)) or int(str(text)) > MAX_ID:
        raise ValueError(f"Must be a whole number from 0 to {MAX_ID}.")
    return int(str(text))


def _rows(text: object) -> int:
    if (rows := _number(text)) < 1:
        raise ValueError("Must be a whole number from 1 on.")
    return min(rows, ROWS_MAX)


def _seconds(text: object) -> int:
    if not re.fullmatch(r"[0-9]+", str(text)):
        raise ValueError("Must be a whole number of seconds.")
    return bounded_seconds(str(text), RETRY_AFTER_MAX_SECONDS)


def _kinds(text: str) -> str:
    if unknown := set(text.split(",")) - set(KINDS):
        raise ValueError(f"There is no kind {min(unknown)[:40]!r}; use {', '.join(KINDS)}.")
    return text


Number = Annotated[
    int,
    BeforeValidator(_number),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_ID}),
]
Rows = Annotated[int, BeforeValidator(_rows), WithJsonSchema({"type": "integer", "minimum": 1})]
Seconds = Annotated[
    int, BeforeValidator(_seconds), WithJsonSchema({"type": "integer", "minimum": 0})
]
KindNames = Annotated[
    str,
    AfterValidator(_kinds),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(KINDS)})(,({'|'.join(KINDS)}))*$"}),
]


class ExportResponse(StreamingResponse):
    """A whole ledger, which counts as one of its user's exports until its client has read it."""

    def __init__(
        self,
        parts: AsyncIterator[bytes] | Iterator[bytes],
        media_type: str,
        headers: dict[str, str],
        exporting: AbstractContextManager[None],
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._exporting = exporting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._exporting:
            await super().__call__(scope, receive, send)


@router.get(
    PATH,
    operation_id="feed.read",
    summary="Read the entries of a ledger, in order",
    response_description="A page of entries",
    response_class=JSONResponse,
    responses=error_responses(
        InvalidInput(errors={"after": [f"Must be a whole number from 0 to {MAX_ID}."]}),
        *(PermissionDenied, NotFound, EpochChanged(extra={"epoch": "5b0c7a91d3f8"})),
        *(Unavailable, too_many("feed")),
        sometimes=LIMITED_BY,
    )
    | {
        200: {
            "headers": headers({"Cache-Control": "private, no-cache", **VARY}, LIMITED_BY),
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/LedgerPage"}}},
        }
    },
)
async def read_ledger(
    request: Request,
    caller: Reader,
    event_id: PathId,
    after: Annotated[Number, Query(description="Entries after this number.")] = 0,
    limit: Annotated[
        Rows, Query(description=f"At most {ROWS_MAX:,}; a larger value means {ROWS_MAX:,}.")
    ] = ROWS_MAX,
    wait: Annotated[
        Seconds,
        Query(description="If the page is empty, wait up to this many seconds for the next entry."),
    ] = 0,
    epoch: Annotated[
        str | None,
        Query(
            pattern=EPOCH_PATTERN,
            description="The epoch in `next`; 409 if the database has another one.",
        ),
    ] = None,
    kinds: Annotated[
        KindNames | None, Query(description="Only entries of these kinds, separated by commas.")
    ] = None,
) -> Response:
    """For the event's owner. Follow `next` to read each entry once; it keeps all parameters.

    A full page never changes, and may be cached. With `kinds`, a page may have few entries or none
    before the end.
    """
    media_type = preferred(request.headers.get("accept", "").encode(), MEDIA_TYPES)
    if media_type != JSON:
        return await _export(request, caller, event_id, media_type)
    feed: Feed = request.app.state.feed
    settings: Settings = request.app.state.settings
    limits = await feed.limit.draw(caller.user_id)
    seconds = min(wait, settings.wait_max_seconds)
    leaves = client_leaves(request.scope, request.receive)
    wanted = Wanted(event_id, after, limit, kinds and kinds.split(","), epoch)
    with on_problem(add=limits):
        page = await feed.page(
            caller.user_id, wanted, WaitLimit(seconds, leaves) if seconds else None
        )
    # Without its epoch an address would have another page after a restore.
    is_final = len(page.entries) == limit and kinds is None and epoch is not None
    body = {"entries": page.entries, "next": _next(request, page), "epoch": page.epoch}
    caching = IMMUTABLE if is_final else "private, no-cache"
    return CountedResponse(
        msgspec.json.encode(body),
        {"Cache-Control": caching, **VARY, **limits},
        feed.unread,
        caller.user_id,
    )


def _export_responses(media_type: str, example: str) -> Responses:
    return error_responses(
        *(PermissionDenied, NotFound, Unavailable, too_many("feed")),
        sometimes=LIMITED_BY,
    ) | {
        200: {
            "headers": headers(
                {"Cache-Control": "private, no-store", "Content-Disposition": ATTACHMENT, **VARY},
                LIMITED_BY,
            ),
            "content": {media_type: {"schema": {"type": "string"}, "example": example}},
        }
    }


@router.get(
    NDJSON_PATH,
    operation_id="feed.export_ndjson",
    summary="Export a whole ledger as lines of JSON",
    response_description="Every entry, with its command",
    response_class=StreamingResponse,
    responses=_export_responses(NDJSON, '{"type":"export","version":1,"event":1}\n'),
)
async def export_ndjson(request: Request, caller: Reader, event_id: PathId) -> Response:
    """For the event's owner. It is enough to replay the sale."""
    return await _export(request, caller, event_id, NDJSON)


@router.get(
    CSV_PATH,
    operation_id="feed.export_csv",
    summary="Export a whole ledger as a table",
    response_description="A row for each entry and ticket type",
    response_class=StreamingResponse,
    responses=_export_responses(CSV, "number,kind,status\r\n1,issued,\r\n"),
)
async def export_csv(request: Request, caller: Reader, event_id: PathId) -> Response:
    """For the event's owner."""
    return await _export(request, caller, event_id, CSV)


async def _export(request: Request, caller: Caller, event_id: int, media_type: str) -> Response:
    feed: Feed = request.app.state.feed
    user_id = caller.user_id
    if request.query_params:
        message = f"An export ({media_type}) has no parameters: it contains the whole ledger."
        raise InvalidInput(errors={name: [message] for name in request.query_params})
    limits = await feed.limit.draw(user_id)
    form: Format = "csv" if media_type == CSV else "ndjson"
    with on_problem(add=limits):
        parts = await feed.export(user_id, event_id, form)
    name = f'attachment; filename="event-{event_id}.{form}"'
    return ExportResponse(
        iter(()) if request.scope.get(IS_HEAD) else parts,
        f"{CSV}; charset=utf-8; header=present" if form == "csv" else NDJSON,
        {
            "Cache-Control": "private, no-store",
            **VARY,
            "Content-Disposition": name,
            **limits,
        },
        feed.exporting(user_id),
    )


def _next(request: Request, page: LedgerPage) -> str:
    query = dict(request.query_params) | {"after": str(page.last), "epoch": page.epoch}
    return f"{public_address(request)}?{urlencode(query)}"
