"""One OpenAPI document out of three."""

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from gateway.openapi import WholeSchema, merge
from shared.errors import Unavailable

OWN = {
    "openapi": "3.1.0",
    "info": {"title": "Eventify", "version": "1"},
    "paths": {"/api/token/": {"post": {}}},
    "components": {"schemas": {"User": {"title": "of the gateway"}}},
}
CATALOG = {
    "openapi": "3.1.0",
    "info": {"title": "catalog", "version": "1"},
    "paths": {"/api/events/": {"get": {}}, "/healthz": {"get": {}}},
    "components": {
        "schemas": {"Event": {"title": "of the catalog"}, "User": {"title": "of the catalog"}},
        "securitySchemes": {"bearerAuth": {"type": "http"}},
    },
}


def test_the_document_has_the_paths_of_all_three() -> None:
    own = OWN | {"paths": {"/api/token/": {"post": {}}, "/api/ticket-purchases/": {"get": {}}}}
    merged = merge(own, {"paths": {"/api/ticket-purchases/": {"post": {}}}}, CATALOG)
    assert set(merged["paths"]) == {"/api/token/", "/api/ticket-purchases/", "/api/events/"}
    assert set(merged["paths"]["/api/ticket-purchases/"]) == {"get", "post"}
    assert set(OWN["paths"]) == {"/api/token/"}  # type: ignore[arg-type]


def test_the_gateway_wins_where_a_name_is_used_twice() -> None:
    merged = merge(OWN, {}, CATALOG)
    assert merged["info"]["title"] == "Eventify"
    schemas = merged["components"]["schemas"]
    assert schemas["User"] == {"title": "of the gateway"}
    assert schemas["Event"] == {"title": "of the catalog"}
    assert merged["components"]["securitySchemes"] == {"bearerAuth": {"type": "http"}}
    assert set(OWN["components"]["schemas"]) == {"User"}  # type: ignore[index]


def test_without_the_catalog_the_gateways_own_part_is_left() -> None:
    assert set(merge(OWN, {}, {})["paths"]) == {"/api/token/"}


class NoCatalog:
    async def ask(self, *_: Any) -> None:
        raise Unavailable


@pytest.mark.anyio
async def test_the_document_is_made_once_and_beside_the_event_loop() -> None:
    asked_in: list[threading.Thread] = []

    def own() -> dict[str, Any]:
        asked_in.append(threading.current_thread())
        return OWN

    whole = WholeSchema(NoCatalog(), cache_seconds=60)  # type: ignore[arg-type]
    one, other = await asyncio.gather(whole.file(own, "/"), whole.file(own, "/"))
    assert one is other
    (thread,) = asked_in
    assert thread is not threading.current_thread()
    document = msgspec.json.decode(one.plain.body)
    assert document["servers"] == [{"url": "/"}]
    assert await whole.file(own, "/shop") is not one
