"""Serves the pages as plain ASGI, from memory: a rush reads them at next to no cost."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.encoded_file import File
from gateway.pages import files
from gateway.responses import send_body, send_problem, text_of
from shared.errors import MethodNotAllowed
from shared.observability.metrics import NamedRoute
from shared.web.if_none_match import is_unchanged
from shared.web.public_address import PublicAddresses

STOREFRONT, EVENT, CONSOLE = NamedRoute("/"), NamedRoute("/events/{id}/"), NamedRoute("/console/")
ASSETS = NamedRoute("/assets/")
# `row_id` of the API; a page of an event that does not exist says so itself.
ONE_EVENT = re.compile(r"/events/[1-9][0-9]{0,18}/")


class PageRoutes:
    """Serves pages and assets, and passes everything else to `fallback_app`."""

    def __init__(self, addresses: PublicAddresses, fallback_app: ASGIApp) -> None:
        self._addresses = addresses
        self._fallback_app = fallback_app
        self._event = (EVENT, files.page("event", depth=2))
        self._found: dict[str, tuple[NamedRoute, File]] = {
            "/": (STOREFRONT, files.page("storefront", depth=0)),
            "/console/": (CONSOLE, files.page("console", depth=1)),
            "/favicon.ico": (ASSETS, files.favicon()),
            **{path: (ASSETS, file) for path, file in files.assets().items()},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback_app(scope, receive, send)
        elif found := self._find(scope["path"]):
            await _send_file(scope, send, *found)
        elif found := self._find(scope["path"] + "/"):
            await self._redirect(scope, send, found[0])
        else:
            await self._fallback_app(scope, receive, send)

    def _find(self, path: str) -> tuple[NamedRoute, File] | None:
        found = self._found.get(path)
        return self._event if found is None and ONE_EVENT.fullmatch(path) else found

    async def _redirect(self, scope: Scope, send: Send, route: NamedRoute) -> None:
        """308, to the same path with a slash."""
        scope["route"] = route
        location = f"{self._addresses.prefix(scope)}{scope['path']}/".encode()
        if scope["query_string"]:
            location += b"?" + scope["query_string"]
        await send_body(scope, send, 308, [(b"location", location)], b"")


async def _send_file(scope: Scope, send: Send, route: NamedRoute, file: File) -> None:
    scope["route"] = route
    if scope["method"] != "GET":  # and HEAD, which is GET here
        await send_problem(scope, send, MethodNotAllowed(headers={"Allow": "GET, HEAD"}))
        return
    headers = dict(scope["headers"])
    chosen = file.chosen(headers.get(b"accept-encoding", b""))
    if is_unchanged(text_of(headers.get(b"if-none-match")), chosen.etag):
        await send_body(scope, send, 304, list(chosen.headers_of_304), b"")
    else:
        await send_body(scope, send, 200, list(chosen.headers), chosen.body)
