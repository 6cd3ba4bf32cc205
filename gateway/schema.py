"""The OpenAPI document of the whole system, at the one door, and the pages that show it."""

import asyncio
import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from gateway.proxy import PREFIXES, CatalogDoor
from gateway.purchases.openapi import PURCHASE_PATHS, PURCHASE_SCHEMAS
from gateway.refusals import PROBLEM_SCHEMA
from shared.errors import Unavailable
from shared.logging import get_logger

Document = Mapping[str, Any]

# Its routes are hand-written, and so is what the document says of them.
PURCHASES: Document = {
    "paths": PURCHASE_PATHS,
    "components": {"schemas": PURCHASE_SCHEMAS},
}
CATALOG_SCHEMA = "/api/schema/"
ASSETS_URL = "/docs-assets"
logger = get_logger(__name__)
router = APIRouter(include_in_schema=False)


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
    components: dict[str, dict[str, Any]] = {"schemas": {"Problem": PROBLEM_SCHEMA}}
    for document in (own, purchases, {**catalog, "paths": behind}):
        for path, operations in document.get("paths", {}).items():
            paths[path] = {**operations, **paths.get(path, {})}
        for kind, named in document.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
    return {**own, "paths": paths, "components": components}


class WholeSchema:
    """Keeps the catalog's part for a while; without the catalog, the last that is known of it."""

    def __init__(self, door: CatalogDoor, cache_seconds: float) -> None:
        self._door = door
        self._cache_seconds = cache_seconds
        self._catalog: Document = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def document(self, own: Document) -> dict[str, Any]:
        async with self._asking:
            if time.monotonic() - self._asked_at >= self._cache_seconds:
                await self._ask()
        return merge(own, PURCHASES, self._catalog)

    async def _ask(self) -> None:
        try:
            answer, content = await self._door.ask("GET", CATALOG_SCHEMA)
            if answer.status == 200:
                self._catalog = msgspec.json.decode(content, type=dict[str, Any])
                self._asked_at = time.monotonic()
        except (Unavailable, msgspec.DecodeError) as error:
            # The next reader asks again.
            logger.warning("catalog_schema_unavailable", error=repr(error))


@router.get("/api/schema/")
async def schema(request: Request) -> Response:
    app: FastAPI = request.app
    whole: WholeSchema = app.state.schema
    return Response(
        msgspec.json.encode(await whole.document(app.openapi())), media_type="application/json"
    )


@router.get("/api/docs/")
async def docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/api/schema/",
        title="Eventify API",
        swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_URL}/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True},
    )


def assets_folder() -> Path:
    """Where the files of Swagger UI lie, which a package carries: no other host is needed."""
    package = importlib.util.find_spec("fastapi_offline")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "static"
