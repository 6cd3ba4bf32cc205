"""One OpenAPI document out of three."""

from gateway.openapi import merge

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
    merged = merge(OWN, {"paths": {"/api/ticket-purchases/": {"post": {}}}}, CATALOG)
    assert set(merged["paths"]) == {"/api/token/", "/api/ticket-purchases/", "/api/events/"}


def test_the_gateways_words_stand_where_a_name_is_taken_twice() -> None:
    merged = merge(OWN, {}, CATALOG)
    assert merged["info"]["title"] == "Eventify"
    schemas = merged["components"]["schemas"]
    assert schemas["User"] == {"title": "of the gateway"}
    assert schemas["Event"] == {"title": "of the catalog"}
    assert merged["components"]["securitySchemes"] == {"bearerAuth": {"type": "http"}}


def test_a_path_may_have_operations_of_both_kinds_of_routes() -> None:
    own = OWN | {"paths": {"/api/ticket-purchases/": {"get": {}}}}
    merged = merge(own, {"paths": {"/api/ticket-purchases/": {"post": {}}}}, {})
    assert set(merged["paths"]["/api/ticket-purchases/"]) == {"get", "post"}


def test_without_the_catalog_the_gateways_own_part_is_left() -> None:
    merged = merge(OWN, {}, {})
    assert set(merged["paths"]) == {"/api/token/"}


def test_merging_leaves_its_sources_as_they_were() -> None:
    merge(OWN, {}, CATALOG)
    assert set(OWN["paths"]) == {"/api/token/"}  # type: ignore[arg-type]
    assert set(OWN["components"]["schemas"]) == {"User"}  # type: ignore[index]
