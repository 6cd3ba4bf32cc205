"""The public routes as plain ASGI: everybody who waits for a sale reads them, again and again.

`openapi.py` describes them.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.rate_limits.address_bucket import bucket_of
from gateway.responses import JSON, Headers, send_body, send_problem, text_of
from gateway.sales.reader import Answer, SaleReader
from gateway.unread_responses import LARGE_BYTES, UnreadResponses
from shared.errors import InvalidInput, MethodNotAllowed, NotFound, Problem
from shared.observability.metrics import NamedRoute
from shared.row_ids import row_id
from shared.web.if_none_match import is_unchanged
from shared.web.public_address import PublicAddresses
from shared.web.unknown_names import query_errors

PREFIX: Final = "/api/sales/"
ALL, ONE = NamedRoute(PREFIX), NamedRoute(PREFIX + "{id}/")
CACHE = (b"cache-control", b"public, max-age=1, stale-while-revalidate=5")
CACHE_MISSING = (b"cache-control", b"public, max-age=1")


class SaleRoutes:
    """Serves these routes, and passes everything else to `fallback_app`."""

    def __init__(
        self,
        reader: SaleReader,
        unread: UnreadResponses,
        addresses: PublicAddresses,
        fallback_app: ASGIApp,
    ) -> None:
        self._reader = reader
        self._unread = unread
        self._addresses = addresses
        self._fallback_app = fallback_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._fallback_app(scope, receive, send)
            return
        is_list = scope["path"] == PREFIX
        scope["route"] = ALL if is_list else ONE
        try:
            event_id = None if is_list else row_id(scope["path"][len(PREFIX) : -1])
            if scope["method"] != "GET":
                raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
            if scope["query_string"] and (errors := query_errors(scope["query_string"], ())):
                raise InvalidInput(errors=errors)
            answer = await (
                self._reader.list() if event_id is None else self._reader.sale(event_id)
            )
            await self._respond(scope, send, answer)
        except Problem as problem:
            caching = [CACHE_MISSING] if isinstance(problem, NotFound) else []
            await send_problem(scope, send, problem, caching)

    async def _respond(self, scope: Scope, send: Send, answer: Answer) -> None:
        etag = answer.document.etag(stale=answer.stale)
        headers: Headers = [(b"etag", etag), CACHE]
        for name, value in scope["headers"]:
            if name == b"if-none-match" and is_unchanged(text_of(value), etag.decode()):
                await send_body(scope, send, 304, headers, b"")
                return
        headers.append(JSON)
        body = answer.document.body(answer.now, stale=answer.stale)
        if len(body) <= LARGE_BYTES:
            await send_body(scope, send, 200, headers, body)
            return
        headers.append((b"content-length", b"%d" % len(body)))
        with self._unread.hold(bucket_of(self._addresses.client(scope)), len(body)) as held:
            await self._unread.send(held, send, 200, headers, body)
