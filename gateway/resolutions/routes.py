"""The routes that resolve purchases, as plain ASGI: a shop confirms as fast as buyers buy.

`openapi.py` describes them.
"""

import re
from collections.abc import Awaitable
from functools import partial
from typing import Any

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uuid_utils import uuid7

from gateway import metrics
from gateway.purchases.preferences import preferred_wait
from gateway.purchases.routes import PURCHASE_ID
from gateway.purchases.traces import PurchaseTraces
from gateway.purchases.waiting import WaitLimit
from gateway.rate_limits.of_resolutions import ResolutionLimits
from gateway.resolutions.rules import Command
from gateway.resolutions.schemas import (
    HoldExtend,
    PurchaseCancel,
    PurchaseRelease,
    parse,
    parse_confirm,
)
from gateway.resolutions.service import Resolutions, Resolved
from gateway.responses import JSON, Headers, encoded, send_body, send_problem, text_of
from shared.auth.authenticator import Authenticator
from shared.auth.caller import Caller, KeyScope
from shared.config.settings import Settings
from shared.errors import REQUIRED, InvalidInput, MethodNotAllowed, NotFound, Problem, on_problem
from shared.observability.metrics import NamedRoute
from shared.purchases import StoredLine
from shared.row_ids import row_id
from shared.web.asgi_extensions import client_leaves
from shared.web.body_limit import read_body
from shared.web.idempotency_key import parse_idempotency_key
from shared.web.public_address import PublicAddresses
from shared.web.unknown_names import query_errors

PURCHASE_PATH = re.compile(r"(/api/ticket-purchases/)([^/]+)/(confirm|release|cancel)/")
EVENT_PATH = re.compile(r"(/api/events/)([^/]+)/(extend-holds)/")
SUFFIXES = ("/confirm/", "/release/", "/cancel/", "/extend-holds/")
# A retry of these without a key would take tickets, or give time, once more.
KEY_REQUIRED = ("cancel", "extend-holds")
RETRY_AFTER = (b"retry-after", b"1")


SCOPES = {
    "confirm": KeyScope.PAYMENTS,
    "cancel": KeyScope.PAYMENTS,
    "extend-holds": KeyScope.PAYMENTS,
    "release": KeyScope.PURCHASE,
}


class ResolutionRoutes:
    """Serves these routes, and passes everything else to `fallback_app`."""

    def __init__(
        self,
        settings: Settings,
        service: Resolutions,
        limits: ResolutionLimits,
        authenticator: Authenticator,
        addresses: PublicAddresses,
        fallback_app: ASGIApp,
        traces: PurchaseTraces | None = None,
    ) -> None:
        self._settings = settings
        self._service = service
        self._limits = limits
        self._traces = traces
        self._authenticator = authenticator
        self._addresses = addresses
        self._fallback_app = fallback_app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own for what it passes on: each client that waits would keep it."""
        found = None
        if scope["type"] == "http" and scope["path"].endswith(SUFFIXES):
            path = scope["path"]
            found = PURCHASE_PATH.fullmatch(path) or EVENT_PATH.fullmatch(path)
        if found is None:
            return self._fallback_app(scope, receive, send)
        return self._resolve(scope, receive, send, *found.groups())

    async def _resolve(
        self, scope: Scope, receive: Receive, send: Send, prefix: str, id_: str, action: str
    ) -> None:
        route = f"{prefix}{{id}}/{action}/"
        scope["route"] = NamedRoute(route)
        try:
            caller = await self._authenticator.caller(scope["headers"])
            target = _target(action, id_)
            if scope["method"] != "POST":
                raise MethodNotAllowed(headers={"Allow": "POST"})
            caller.require(SCOPES[action])
            respond = partial(self._respond, scope, receive, send, caller, action, target)
            if self._traces is None:
                await respond()
            else:
                traceparent = dict(scope["headers"]).get(b"traceparent")
                await self._traces.request(route, traceparent, respond)
        except Problem as problem:
            if scope["method"] == "POST":
                metrics.RESOLUTIONS.labels(action, problem.code).inc()
            await send_problem(scope, send, problem)

    async def _respond(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        action: str,
        target: dict[str, Any],
        traceparent: str | None = None,
    ) -> int:
        settings = self._settings
        body = await read_body(
            scope,
            receive,
            max_bytes=settings.body_max_bytes,
            timeout_seconds=settings.body_timeout_seconds,
        )
        if scope["query_string"] and (errors := query_errors(scope["query_string"], ())):
            raise InvalidInput(errors=errors)
        terms = _terms(action, body)
        headers = dict(scope["headers"])
        key = parse_idempotency_key(text_of(headers.get(b"idempotency-key")))
        if key is None and action in KEY_REQUIRED:
            raise InvalidInput(errors={"Idempotency-Key": [REQUIRED]})
        command = Command(
            id=str(uuid7()),
            user_id=caller.user_id,
            request_id=scope["request_id"],
            idempotency_key=key,
            traceparent=traceparent,
            **target,
            **terms,
        )
        asked = preferred_wait(headers.get(b"prefer", b""), settings.wait_max_seconds)
        seconds = settings.resolution_wait_seconds if asked is None else asked
        wait_limit = WaitLimit(seconds, client_leaves(scope, receive))
        rate_limit = await self._limits.draw(caller, command.kind)
        with on_problem(add=rate_limit):
            resolved = await self._service.resolve(command, wait_limit)
        extra: Headers = [*encoded(rate_limit)]
        if asked is not None:
            extra.append((b"preference-applied", b"wait=%d" % asked))
        if resolved.replayed:
            extra.append((b"idempotency-replayed", b"true"))
        location = scope["path"].removesuffix(f"{action}/")
        address = f"{self._addresses.prefix(scope)}{location}".encode()
        if resolved.is_pending:
            status = 202
            extra += [(b"location", address), RETRY_AFTER]
        elif action == "cancel":
            status = 201
            extra.append((b"location", address))
        else:
            status = 200
        metrics.RESOLUTIONS.labels(action, "pending" if resolved.is_pending else "decided").inc()
        await send_body(scope, send, status, [JSON, *extra], _body(command, resolved))
        return status


def _target(action: str, id_: str) -> dict[str, Any]:
    """Raises NotFound: it cannot be an id."""
    if action == "extend-holds":
        return {"kind": "extend", "event_id": row_id(id_)}
    purchase_id = id_.lower()
    if not PURCHASE_ID.fullmatch(purchase_id):
        raise NotFound
    return {"kind": action, "purchase_id": purchase_id}


def _terms(action: str, body: bytes) -> dict[str, Any]:
    """The fields of the body.

    Raises:
        MalformedBody, InvalidInput: as `parse`.
    """
    match action:
        case "confirm":
            return parse_confirm(body)
        case "release":
            return parse(PurchaseRelease, body).model_dump()
        case "cancel":
            terms = parse(PurchaseCancel, body).model_dump()
            items = terms.pop("items")
            lines = None if items is None else tuple(StoredLine(**item) for item in items)
            return {**terms, "lines": lines}
    return parse(HoldExtend, body).model_dump()


def _body(command: Command, resolved: Resolved) -> bytes:
    if resolved.purchase is not None:
        return msgspec.json.encode(resolved.purchase)
    return msgspec.json.encode({"seconds": command.seconds, "extended": resolved.held})
