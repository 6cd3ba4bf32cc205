"""Live figures of an event, and its past: parse, call, respond."""

import random
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from gateway.live.sampler import Sampler
from gateway.live.schemas import LIVE
from gateway.live.service import Live
from gateway.purchases.event_stream import EVENT_STREAM, HEADERS, JSON, RETRY, wants_events
from gateway.purchases.waiting import WaitLimit
from gateway.unread_responses import CountedResponse
from shared.auth.authenticator import Authenticator
from shared.auth.caller import KeyScope
from shared.errors import InvalidInput, NotFound, PermissionDenied, Problem, Unavailable, on_problem
from shared.moments import Moment
from shared.web.asgi_extensions import client_leaves
from shared.web.authentication import AuthenticatedRoute, Reader
from shared.web.edge import IS_HEAD
from shared.web.openapi import error_responses, headers, rate_limits, too_many
from shared.web.path_id import PathId

PATH: Final = "/api/events/{id}/live/"
STREAM_PATH: Final = PATH + "events/"
HISTORY_PATH: Final = PATH + "history/"
# Then a client connects again: a proxy may have been changed, and gateways share their watchers.
STREAM_SECONDS: Final = 600.0
STREAM_JITTER: Final = 0.1
LIMITED_BY = rate_limits("live")
CACHING = {"Cache-Control": "private, no-store", "Vary": "Authorization, Accept"}

PROBLEMS = error_responses(
    PermissionDenied, NotFound, Unavailable, too_many("live"), sometimes=LIMITED_BY
)

EVENT = f"event: live\nid: 1\ndata: {msgspec.json.encode(LIVE).decode()}\n\n"

router = APIRouter(tags=["Live"], route_class=AuthenticatedRoute)


class LiveStream(Response):
    """A sample a second as server-sent events, for as long as the client may see them.

    A client that reads slowly misses samples; one that does not read is disconnected.
    """

    def __init__(self, request: Request, live: Live, sampler: Sampler, user_id: int) -> None:
        super().__init__()
        self._request = request
        self._live = live
        self._sampler = sampler
        self._user_id = user_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._live.watching(self._user_id, self._sampler):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if not scope.get(IS_HEAD):
                await self._send_samples(scope, receive, send)
            await send({"type": "http.response.body", "body": b""})

    async def _send_samples(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds = STREAM_SECONDS * random.uniform(1 - STREAM_JITTER, 1 + STREAM_JITTER)  # noqa: S311
        limit = WaitLimit(seconds, client_leaves(scope, receive))
        sampler, retry = self._sampler, RETRY
        while sampler.problem is None and sampler.sample is not None and await self._may_read():
            if sampler.sample.owner_id != self._user_id:  # it was transferred
                return
            coming = sampler.next
            part = retry + sampler.sample.event
            await self._live.unread.send_part(self._user_id, send, part)
            if limit.is_over:
                return
            retry = b""
            await limit.wait_for(coming)

    async def _may_read(self) -> bool:
        """Whether the token or key is still valid."""
        authenticator: Authenticator = self._request.app.state.authenticator
        try:
            caller = await authenticator.caller(self._request.headers.raw)
            caller.require(KeyScope.READ)
        except Problem:
            return False
        return True


@router.get(
    PATH,
    operation_id="live.read",
    summary="Read what goes on in a sale",
    response_description="The newest sample",
    response_class=JSONResponse,
    responses=PROBLEMS
    | {
        200: {
            "headers": headers(CACHING, LIMITED_BY),
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Live"}}},
        }
    },
)
async def read_live(request: Request, caller: Reader, event_id: PathId) -> Response:
    """For the event's owner; while the database is unavailable, the last one with `stale: true`."""
    if wants_events(request.headers.get("accept", "").encode()):
        return await stream_live(request, caller, event_id)
    live: Live = request.app.state.live
    limits = await live.limit.draw(caller.user_id)
    with on_problem(add=limits):
        sample = await live.sample(caller.user_id, event_id)
    return CountedResponse(sample.data, CACHING | {**limits}, live.unread, caller.user_id)


@router.get(
    STREAM_PATH,
    operation_id="live.stream",
    summary="Follow what goes on in a sale, as server-sent events",
    response_description="An event `live` a second",
    response_class=Response,
    responses=PROBLEMS
    | {
        200: {
            "headers": headers(CACHING | {"Cache-Control": "no-store"}, LIMITED_BY),
            "content": {
                EVENT_STREAM: {
                    "schema": {"type": "string"},
                    "example": EVENT,
                },
            },
        }
    },
)
async def stream_live(request: Request, caller: Reader, event_id: PathId) -> Response:
    """For the event's owner. The data of each event is what `live.read` responds with.

    It ends after some ten minutes: reconnect.
    """
    live: Live = request.app.state.live
    limits = await live.limit.draw(caller.user_id)
    with on_problem(add=limits):
        sampler = await live.sampler(caller.user_id, event_id)
    stream = LiveStream(request, live, sampler, caller.user_id)
    limited_by = ((k.lower().encode(), v.encode()) for k, v in limits.items())
    stream.raw_headers = [*HEADERS, *limited_by]
    return stream


@router.get(
    HISTORY_PATH,
    operation_id="live.history",
    summary="Read the past of a sale",
    response_description="Its steps, and its marks",
    response_class=JSONResponse,
    responses=error_responses(
        InvalidInput(errors={"from": ["Must be a time with its offset."]}),
        *(PermissionDenied, NotFound, Unavailable, too_many("live")),
        sometimes=LIMITED_BY,
    )
    | {
        200: {
            "headers": headers(CACHING, LIMITED_BY),
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/LiveHistory"}}},
        }
    },
)
async def read_live_history(
    request: Request,
    caller: Reader,
    event_id: PathId,
    since: Annotated[
        Moment | None,
        Query(alias="from", description="Only what came since, in narrower steps."),
    ] = None,
) -> Response:
    """For the event's owner: from its first purchase on, in at most 300 equal steps."""
    live: Live = request.app.state.live
    limits = await live.limit.draw(caller.user_id)
    with on_problem(add=limits):
        history = await live.history(
            caller.user_id, event_id, None if since is None else since.timestamp()
        )
    content = msgspec.json.encode(history)
    return CountedResponse(content, CACHING | {**limits}, live.unread, caller.user_id)
