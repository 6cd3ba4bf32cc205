"""The OpenAPI document of the whole system: merged from the gateway's and the catalog's."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from gateway.catalog_proxy import PREFIXES, CatalogProxy
from gateway.encoded_file import File
from gateway.feed import schemas as feed
from gateway.live import schemas as live
from gateway.purchases import openapi as purchases
from gateway.resolutions import openapi as resolutions
from gateway.sales import openapi as sales
from shared.errors import Unavailable
from shared.observability.logging import get_logger
from shared.web.if_none_match import IfNoneMatch, is_unchanged
from shared.web.openapi import ETAG, TOKEN_SECURITY, complete, error_table, headers
from shared.web.public_address import PublicAddresses

Document = Mapping[str, Any]

DESCRIPTION = f"""
Ticket on-sales: never oversold, never lost, first come first served and provable.

**Start here**: register, sign in, and send `Authorization: Bearer <access>` with every other
request. An organiser creates an event and its ticket types; everyone else buys.

- Paths end in a slash; without it the request is redirected (308). Bodies are JSON, whatever
  their `Content-Type`. Unknown fields and query parameters are errors. `HEAD` works wherever `GET`
  does.
- Times are RFC 3339 in UTC, money is a decimal string, ids are 64-bit integers or UUIDs.
- Lists are pages: `count`, `next`, `previous`, `results`; `?page=`, `?page_size=`. With `?cursor=`
  they have `next` and `results` alone, and do not shift while rows come and go.
- Every response has `X-Request-ID`: yours, or a new one.
- Requests that a page of another site makes a browser send get 403, except `GET` and `HEAD`.

**Errors** are `application/problem+json` (RFC 9457). Rely on the `code`;
[what to do at each](../docs/errors/):

{error_table()}

405 has `Allow`. 429 and 503 have `Retry-After`: retry then, a purchase with the same
`Idempotency-Key`.
"""
TAGS = [
    {"name": "Accounts", "description": "Register, and change or delete your account."},
    {"name": "Tokens", "description": "Sign in; refresh, check and revoke tokens."},
    {"name": "API keys", "description": "For servers: they act as their owner, within scopes."},
    {"name": "Events", "description": "Only its owner can change an event."},
    {
        "name": "Ticket types",
        "description": "What is sold for an event: price, sale window, limits, availability.",
    },
    {
        "name": "Sales",
        "description": "What everybody may read of a published event, without a token.",
    },
    {
        "name": "Purchases",
        "description": "Accepted at once, decided in the order of acceptance, never rewritten. A"
        " hold is confirmed by its payment, a purchase cancelled by the event's owner.",
    },
    {"name": "Holds", "description": "All open holds of an event, for its owner."},
    {
        "name": "Feed",
        "description": "Every entry of a sale in order, for the systems of its organiser.",
    },
    {
        "name": "Live",
        "description": "What goes on in a sale, once a second, and what went on, for its owner.",
    },
    {"name": "Audits", "description": "Every decision of an event replayed, for its owner."},
    {
        "name": "Webhooks",
        "description": "Every entry of a sale, sent to your server: docs/webhooks.md.",
    },
    {"name": "Operation", "description": "Health, metrics, and this document."},
]
CATALOG_SCHEMA = "/api/schema/"
RETRY_SECONDS = 1.0
# Path prefixes of proxies.
SERVERS_MAX = 10
CACHED, NOT_STORED = "public, max-age=60", "no-store"
HEADERS = headers(ETAG | {"Cache-Control": CACHED, "Vary": "Accept-Encoding"})
logger = get_logger(__name__)
router = APIRouter(tags=["Operation"])


def lean_document() -> dict[str, Any]:
    """Of the routes that are plain ASGI."""
    paths = {**sales.PATHS, **purchases.PATHS, **resolutions.PATHS}
    schemas = {
        **sales.SCHEMAS,
        **purchases.SCHEMAS,
        **resolutions.SCHEMAS,
        **feed.SCHEMAS,
        **live.SCHEMAS,
    }
    return complete({"paths": paths, "components": {"schemas": schemas}})


def merge(own: Document, lean: Document, catalog: Document) -> dict[str, Any]:
    """Merge three documents. The first one that has an operation or a component wins.

    Args:
        own: the gateway's own document.
        lean: paths and components of the routes that are plain ASGI; or {}.
        catalog: the catalog's document, of which the paths that the gateway proxies are taken; or
        {}.
    """
    behind = {
        path: item for path, item in catalog.get("paths", {}).items() if path.startswith(PREFIXES)
    }
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, dict[str, Any]] = {}
    for document in (own, lean, {**catalog, "paths": behind}):
        for path, operations in document.get("paths", {}).items():
            paths[path] = {**operations, **paths.get(path, {})}
        for kind, named in document.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
    # An operation that is public has none.
    return {**own, "paths": paths, "components": components, "security": TOKEN_SECURITY}


class WholeSchema:
    """Caches the catalog's part; while the catalog is unavailable, the last one."""

    def __init__(self, catalog_proxy: CatalogProxy, cache_seconds: float) -> None:
        self._catalog_proxy = catalog_proxy
        self._cache_seconds = cache_seconds
        self._catalog: Document = {}
        self._fetch_at = float("-inf")
        self._making = asyncio.Lock()
        self._files: dict[str, File] = {}  # by server

    async def file(self, own: Callable[[], Document], server: str) -> File:
        """The whole document.

        Args:
            own: makes the gateway's part; it is called in a thread.
            server: the URL of the API.
        """
        async with self._making:
            if time.monotonic() >= self._fetch_at:
                await self._fetch()
            if server not in self._files:
                if len(self._files) >= SERVERS_MAX:
                    self._files.clear()
                # The first takes 0.3 s, and each other 40 ms: buyers do not wait for it.
                self._files[server] = await asyncio.to_thread(self._make, own, server)
            return self._files[server]

    def _make(self, own: Callable[[], Document], server: str) -> File:
        document = merge(own(), lean_document(), self._catalog) | {"servers": [{"url": server}]}
        headers = ((b"cache-control", (CACHED if self._catalog else NOT_STORED).encode()),)
        return File.of("application/json", msgspec.json.encode(document), headers)

    async def _fetch(self) -> None:
        try:
            response, content = await self._catalog_proxy.ask("GET", CATALOG_SCHEMA)
            if response.status == 200:
                catalog = msgspec.json.decode(content, type=dict[str, Any])
                if catalog != self._catalog:
                    self._catalog = catalog
                    self._files.clear()
                self._fetch_at = time.monotonic() + self._cache_seconds
                return
        except (Unavailable, msgspec.DecodeError) as error:
            logger.warning("catalog_schema_unavailable", error=repr(error))
        # Requests wait for the lock, and without the catalog each attempt takes a second or more.
        self._fetch_at = time.monotonic() + min(RETRY_SECONDS, self._cache_seconds)


@router.get(
    "/api/schema/",
    operation_id="operation.schema",
    summary="This document",
    response_class=JSONResponse,
    response_description="An OpenAPI document",
    responses={
        200: {
            "headers": HEADERS,
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": {"openapi": "3.1.0"}}
            },
        },
        304: {"description": "The client has this document", "headers": HEADERS},
    },
)
async def schema(request: Request, if_none_match: IfNoneMatch = None) -> Response:
    """The OpenAPI document of all services, gzipped for those who accept it."""
    app: FastAPI = request.app
    whole: WholeSchema = app.state.schema
    addresses: PublicAddresses = app.state.addresses
    # A relative URL is resolved against the document's own.
    server = addresses.public_url or addresses.prefix(request.scope) or "/"
    file = await whole.file(app.openapi, server)
    chosen = file.chosen(request.headers.get("accept-encoding", "").encode("latin-1"))
    if is_unchanged(if_none_match, chosen.etag):
        response = Response(status_code=304)
        response.raw_headers = [*chosen.headers_of_304]
        return response
    response = Response(chosen.body)
    response.raw_headers = [*chosen.headers, (b"content-length", b"%d" % len(chosen.body))]
    return response
