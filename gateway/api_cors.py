"""CORS of the API: pages of the origins that the operator allows may use it.

`/session/` is for our own pages alone, and no route of the API reads a cookie.
"""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web.cross_site import ORIGIN_ALLOWED
from shared.web.openapi import HEADERS

PREFIX = "/api/"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    *("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
    *("Prefer", "X-Request-ID", "traceparent"),
)
# `Date`: clients count down on our clock. Browsers show the others by themselves, or use them.
EXPOSED = sorted({"Date", *HEADERS} - {"Cache-Control", "Connection", "Vary"})
# Until a browser asks again.
PREFLIGHT_SECONDS = 3_600


class ApiCors:
    """To be wrapped around the edge, whose own errors these pages have to read as well.

    Args:
        origins: as browsers send them.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)
        self._with_cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        origin = dict(scope["headers"]).get(b"origin")
        # In another scope, no response is written past the middleware
        # (`asgi_extensions.send_whole`).
        allowed = {ORIGIN_ALLOWED: origin in self._origins}
        await self._with_cors({**scope, **allowed}, receive, send)
