"""The two hot routes as plain ASGI: authenticate, parse, call the service, respond.

They carry most of an on-sale's load, so they bypass FastAPI; `openapi.py` describes them.
"""

import re
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from urllib.parse import parse_qs

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import metrics
from gateway.purchases.event_stream import send_events, wants_events
from gateway.purchases.look_up import PurchaseAnswer
from gateway.purchases.pace import retry_after_seconds
from gateway.purchases.preferences import bounded_seconds, preferred_wait
from gateway.purchases.request_body import parse_body
from gateway.purchases.service import PurchaseService
from gateway.purchases.traces import PurchaseTraces
from gateway.purchases.waiting import WaitLimit
from gateway.responses import JSON, Headers, encoded, send_body, send_problem, text_of
from shared.auth.authenticator import Authenticator
from shared.auth.caller import Caller, KeyScope
from shared.config.settings import Settings
from shared.errors import (
    AllHeld,
    InvalidInput,
    MethodNotAllowed,
    NotEnoughTickets,
    NotFound,
    OverUserLimit,
    Problem,
)
from shared.log_limit import LogLimit
from shared.observability.logging import get_logger
from shared.observability.metrics import NamedRoute
from shared.purchases import CANCELLED, EXPIRED, HELD, REJECTED, RELEASED, Short
from shared.web.asgi_extensions import client_leaves
from shared.web.body_limit import read_body
from shared.web.edge import IS_HEAD
from shared.web.idempotency_key import parse_idempotency_key
from shared.web.if_none_match import is_unchanged
from shared.web.public_address import PublicAddresses
from shared.web.unknown_names import query_errors

PREFIX = "/api/ticket-purchases/"
PURCHASE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STREAM_SUFFIX = "events/"

# A purchase with one of these never changes.
FINAL = frozenset({REJECTED, RELEASED, EXPIRED, CANCELLED})
CACHE_FOREVER = (b"cache-control", b"private, max-age=31536000, immutable")
# A browser's cache may serve several users, one after another.
VARY = (b"vary", b"Authorization, Accept")
CACHE_AND_REVALIDATE = (b"cache-control", b"private, no-cache")
ASK_AGAIN = (b"retry-after", b"1")
ERROR_OF_REASON: dict[str, type[Problem]] = {
    problem.code: problem for problem in (NotEnoughTickets, AllHeld, OverUserLimit)
}

# Of each code: enough for all refusals of a quiet hour, and a small part of those of a rush.
REFUSAL_LOGGED_SECONDS = 0.1

ALL, ONE = NamedRoute(PREFIX), NamedRoute(PREFIX + "{id}/")
STREAM = NamedRoute(PREFIX + "{id}/events/")

# Of a ticket type, with this code.
CountRefusal = Callable[[int, str], None]

logger = get_logger(__name__)


class _Outcome(msgspec.Struct):
    """The part of a rejected purchase's body that is in the response."""

    reason: str
    short: list[Short] | None = None


class PurchaseRoutes:
    """Serves the hot routes, and passes everything else to `fallback_app`."""

    def __init__(
        self,
        settings: Settings,
        service: PurchaseService,
        authenticator: Authenticator,
        addresses: PublicAddresses,
        fallback_app: ASGIApp,
        traces: PurchaseTraces | None = None,
        count_refusal: CountRefusal | None = None,
    ) -> None:
        self._settings = settings
        self._count_refusal = count_refusal
        self._service = service
        self._authenticator = authenticator
        self._addresses = addresses
        self._fallback_app = fallback_app
        self._traces = traces
        self._refusals = LogLimit(REFUSAL_LOGGED_SECONDS)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return self._fallback_app(scope, receive, send)
        return self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        method: str = scope["method"]
        below = path[len(PREFIX) :]
        purchase_id, _, suffix = below.partition("/")
        scope["route"] = _route(below, suffix)
        try:
            headers = dict(scope["headers"])
            caller = await self._authenticator.caller(scope["headers"])
            if scope["route"] is not ALL:
                caller.require(KeyScope.READ)
                await self._one(scope, receive, send, caller, headers, purchase_id, suffix)
            elif method == "POST":
                caller.require(KeyScope.PURCHASE)
                if self._traces is None:
                    await self._create(scope, receive, send, caller, headers)
                else:
                    create = partial(self._create, scope, receive, send, caller, headers)
                    await self._traces.request(PREFIX, headers.get(b"traceparent"), create)
            elif method == "GET":
                await self._fallback_app(scope, receive, send)
            else:
                raise MethodNotAllowed(headers={"Allow": "GET, HEAD, POST"})
        except Problem as problem:
            if method == "POST":
                metrics.ERRORS.labels(problem.code).inc()
                if count := self._refusals.count(problem.code):
                    logger.info("purchase_refused", code=problem.code, count=count)
            await send_problem(scope, send, problem)

    async def _create(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        headers: dict[bytes, bytes],
        traceparent: str | None = None,
    ) -> int:
        body = await read_body(
            scope,
            receive,
            max_bytes=self._settings.body_max_bytes,
            timeout_seconds=self._settings.body_timeout_seconds,
        )
        if scope["query_string"] and (errors := query_errors(scope["query_string"], ())):
            raise InvalidInput(errors=errors)
        asked = preferred_wait(headers.get(b"prefer", b""), self._settings.wait_max_seconds)
        wanted = parse_body(body)
        if wanted.buyer and caller.key_id is None:
            raise InvalidInput(errors={"buyer": ["Only a purchase with an API key has one."]})
        key = parse_idempotency_key(text_of(headers.get(b"idempotency-key")))
        try:
            answer = await self._service.buy(
                caller.user_id,
                wanted,
                key_id=caller.key_id,
                idempotency_key=key,
                request_id=scope["request_id"],
                traceparent=traceparent,
                wait_limit=_wait_limit(scope, receive, asked),
            )
        except Problem as problem:
            if self._count_refusal is not None:
                self._count_refusal(wanted.lines[0].ticket_type, problem.code)
            raise
        location = f"{self._addresses.prefix(scope)}{PREFIX}{answer.id}/"
        extra = [(b"location", location.encode()), *encoded(answer.rate_limit)]
        if asked:  # without a wait the response is the same
            extra.append((b"preference-applied", b"wait=%d" % asked))
        if answer.replayed:
            extra.append((b"idempotency-replayed", b"true"))
        return await _send_created(scope, send, answer, extra)

    async def _one(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        headers: dict[bytes, bytes],
        purchase_id: str,
        suffix: str,
    ) -> None:
        # RFC 9562: letters of either case are read.
        purchase_id = purchase_id.lower()
        if not PURCHASE_ID.fullmatch(purchase_id) or suffix not in ("", STREAM_SUFFIX):
            raise NotFound
        if scope["method"] != "GET":
            raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
        wait_seconds = self._query_wait(scope["query_string"], () if suffix else ("wait",))
        if_none_match = text_of(headers.get(b"if-none-match"))
        look_up = self._service.look_up
        # The caller is known, and thousands wait: a token takes as much as the rest of a head.
        headers.pop(b"authorization", None)
        scope["headers"] = [*headers.items()]
        if suffix or wants_events(headers.get(b"accept", b"")):
            answers = look_up.follow(
                await look_up.waiter(caller, purchase_id),
                purchase_id,
                client_leaves(scope, receive),
            )
            await send_events(
                send,
                answers,
                headers.get(b"last-event-id"),
                headers_only=scope.get(IS_HEAD, False),
            )
            return
        if (wait_limit := _wait_limit(scope, receive, wait_seconds)) is None:
            answer = await look_up.read(caller.user_id, purchase_id)
        else:
            answer = await look_up.wait(
                await look_up.waiter(caller, purchase_id),
                purchase_id,
                wait_limit,
                is_known=lambda answer: is_unchanged(if_none_match, _etag(answer)),
            )
        etag = _etag(answer)
        caching = CACHE_FOREVER if answer.status in FINAL else CACHE_AND_REVALIDATE
        extra = [(b"etag", etag.encode()), caching, VARY, *_retry_after(answer)]
        if is_unchanged(if_none_match, etag):
            if answer.status == HELD and wait_limit is not None and not wait_limit.is_over:
                extra.append(ASK_AGAIN)  # cut short, as too many wait or this process is stopping
            await send_body(scope, send, 304, extra, b"")
        else:
            await send_body(scope, send, 200, [JSON, *extra], answer.body)

    def _query_wait(self, query: bytes, parameters: Collection[str]) -> int:
        """The seconds of `?wait=N`, at most `wait_max_seconds`.

        Raises:
            InvalidInput: N is not a whole number, or there are other parameters.
        """
        if not query:
            return 0
        if errors := query_errors(query, parameters):
            raise InvalidInput(errors=errors)
        (wait,) = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("wait", ("0",))
        if not re.fullmatch(r"[0-9]+", wait):
            raise InvalidInput(errors={"wait": ["Must be a whole number of seconds."]})
        return bounded_seconds(wait, self._settings.wait_max_seconds)


def _route(below: str, suffix: str) -> NamedRoute:
    if suffix == STREAM_SUFFIX:
        return STREAM
    return ONE if below else ALL


def _wait_limit(scope: Scope, receive: Receive, seconds: int | None) -> WaitLimit | None:
    return WaitLimit(seconds, client_leaves(scope, receive)) if seconds else None


async def _send_created(scope: Scope, send: Send, answer: PurchaseAnswer, extra: Headers) -> int:
    """Respond 202 while queued, else by the outcome, also of a replay; return the status."""
    if answer.waits_seconds is not None:
        await send_body(scope, send, 202, [JSON, *extra, *_retry_after(answer)], answer.body)
        return 202
    if answer.status != REJECTED:
        await send_body(scope, send, 201, [JSON, *extra], answer.body)
        return 201
    outcome = msgspec.json.decode(answer.body, type=_Outcome)
    short = {"short": outcome.short} if outcome.short else {}
    problem = ERROR_OF_REASON[outcome.reason](extra={"id": answer.id, **short})
    await send_problem(scope, send, problem, extra)
    return problem.status


def _retry_after(answer: PurchaseAnswer) -> Headers:
    if answer.waits_seconds is None:
        return []
    return [(b"retry-after", b"%d" % retry_after_seconds(answer.waits_seconds))]


def _etag(answer: PurchaseAnswer) -> str:
    return f'"{answer.version.decode()}"'
