"""The OpenAPI document of the whole system, at the one door."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from gateway.catalog_proxy import PREFIXES, CatalogProxy
from gateway.purchases.openapi import purchases_document
from shared.errors import Unavailable
from shared.observability.logging import get_logger
from shared.web.openapi import refusal_table
from shared.web.public_address import PublicAddresses

Document = Mapping[str, Any]

DESCRIPTION = f"""
Ticket on-sales: never oversold, never lost, first come first served and provable.

**Start here**: register, sign in, and send `Authorization: Bearer <access>` with every other
request. An organiser makes an event and its ticket types; everyone else buys.

- Paths end in a slash; without it you are led on (308). Bodies are JSON, whatever their
  `Content-Type` says. Unknown fields and query parameters are refused. `HEAD` is answered wherever
  `GET` is.
- Times are RFC 3339 in UTC, money is a decimal string, ids of rows are 64-bit integers.
- Lists are pages: `count`, `next`, `previous`, `results`; `?page=`, `?page_size=`.
- Every answer carries `X-Request-ID`: yours, or a new one.
- What a page of another site makes a browser send is refused (403), but for `GET` and `HEAD`.

**Refusals** are `application/problem+json` (RFC 9457). Rely on the `code`:

{refusal_table()}

405 carries `Allow`. 429 and 503 carry `Retry-After`: ask again then, a purchase with the same
`Idempotency-Key`.
"""
TAGS = [
    {"name": "Accounts and tokens", "description": "Register, sign in, stay signed in."},
    {"name": "Events", "description": "What tickets are sold for. Only its owner changes one."},
    {
        "name": "Ticket types",
        "description": "What is sold, at which price, when, and how many are left.",
    },
    {
        "name": "Purchases",
        "description": "Accepted at once, decided in the order of acceptance, never changed.",
    },
    {"name": "Operation", "description": "For those who run it, and this document itself."},
]
CATALOG_SCHEMA = "/api/schema/"
RETRY_SECONDS = 1.0
logger = get_logger(__name__)
router = APIRouter(tags=["Operation"])


def merge(own: Document, purchases: Document, catalog: Document) -> dict[str, Any]:
    """One document of three. Where an operation or a component stands twice, the first counts.

    Args:
        own: the gateway's own document.
        purchases: paths and components of the purchase routes; or {}.
        catalog: the catalog's document, of which the paths behind this door are taken; or {}.
    """
    behind = {
        path: item for path, item in catalog.get("paths", {}).items() if path.startswith(PREFIXES)
    }
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, dict[str, Any]] = {}
    for document in (own, purchases, {**catalog, "paths": behind}):
        for path, operations in document.get("paths", {}).items():
            paths[path] = {**operations, **paths.get(path, {})}
        for kind, named in document.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
    return {**own, "paths": paths, "components": components}


class WholeSchema:
    """Keeps the catalog's part for a while; without the catalog, the last that is known of it."""

    def __init__(self, door: CatalogProxy, cache_seconds: float) -> None:
        self._door = door
        self._cache_seconds = cache_seconds
        self._catalog: Document = {}
        self._ask_at = float("-inf")
        self._asking = asyncio.Lock()
        # Its routes are hand-written, and so is what the document says of them.
        self._purchases = purchases_document()
        # 180 kB that take the event loop a few milliseconds, for anyone who asks.
        self._encoded: bytes | None = None

    async def encoded(self, own: Document) -> bytes:
        """The whole document as JSON; `own` is the gateway's part, the same at each call."""
        async with self._asking:
            if time.monotonic() >= self._ask_at:
                await self._ask()
        if self._encoded is None:
            self._encoded = msgspec.json.encode(merge(own, self._purchases, self._catalog))
        return self._encoded

    async def _ask(self) -> None:
        try:
            answer, content = await self._door.ask("GET", CATALOG_SCHEMA)
            if answer.status == 200:
                self._catalog = msgspec.json.decode(content, type=dict[str, Any])
                self._encoded = None
                self._ask_at = time.monotonic() + self._cache_seconds
                return
        except (Unavailable, msgspec.DecodeError) as error:
            logger.warning("catalog_schema_unavailable", error=repr(error))
        # Readers wait for each other here, and without the catalog each asks for a second or more.
        self._ask_at = time.monotonic() + min(RETRY_SECONDS, self._cache_seconds)


@router.get(
    "/api/schema/",
    summary="This document",
    response_class=JSONResponse,
    response_description="An OpenAPI document",
)
async def schema(request: Request) -> Response:
    """Made of the gateway's own part and of the catalog's, or the last that is known of it."""
    app: FastAPI = request.app
    whole: WholeSchema = app.state.schema
    addresses: PublicAddresses = app.state.addresses
    document = await whole.encoded(app.openapi())
    # A relative one is resolved against the document's own address.
    if server := addresses.public_url or addresses.prefix(request.scope):
        document = b'{"servers":%b,%b' % (msgspec.json.encode([{"url": server}]), document[1:])
    return Response(document, media_type="application/json")
