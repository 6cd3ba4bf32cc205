"""Reads of an event or a ticket type, as plain ASGI.

What is not in memory, and every error, comes from the catalog.
"""

import re
from functools import partial
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.catalog_proxy import CatalogProxy, route_of
from gateway.response_headers import FOR_BROWSERS
from gateway.responses import send_problem
from gateway.rows.reader import Row, RowReader
from gateway.rows.store import RowName
from shared.auth.authenticator import Authenticator
from shared.auth.caller import KeyScope
from shared.errors import Problem
from shared.row_ids import row_id
from shared.web.asgi_extensions import send_whole

ROW: Final = re.compile(r"(/api/(events|ticket-types)/)([1-9][0-9]*)/")


class RowRoutes:
    """Serves these reads, and passes everything else to `fallback_app`, as the catalog's."""

    def __init__(
        self,
        reader: RowReader,
        catalog_proxy: CatalogProxy,
        authenticator: Authenticator,
        fallback_app: ASGIApp,
    ) -> None:
        self._reader = reader
        self._catalog_proxy = catalog_proxy
        self._authenticator = authenticator
        self._fallback_app = fallback_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            found = ROW.fullmatch(scope["path"])
        if found is None:
            await self._fallback_app(scope, receive, send)
            return
        prefix, kind, id_ = found.groups()
        try:
            caller = await self._authenticator.caller(scope["headers"])
            caller.require(KeyScope.READ)
            name = RowName(kind == "events", row_id(id_))
        except Problem:
            await self._fallback_app(scope, receive, send)
            return
        try:
            row = await self._row(scope, caller.user_id, name)
        except Problem as problem:
            scope["route"] = route_of(prefix)
            await send_problem(scope, send, problem, FOR_BROWSERS)
            return
        if row is None:
            await self._fallback_app(scope, receive, send)
            return
        scope["route"] = route_of(prefix)
        status, headers, body = row.to(scope)
        await send_whole(scope, send, status, [*headers, *FOR_BROWSERS], body)

    async def _row(self, scope: Scope, user_id: int, name: RowName) -> Row | None:
        """None: it is the catalog's to answer."""
        version = await self._reader.version(name)
        if version is None:
            return None
        if (row := self._reader.recall(name, version)) is not None:
            return row
        proxy = self._catalog_proxy
        return await self._reader.ask(
            name, version, partial(proxy.read_row, scope), proxy.turn_of(user_id)
        )
