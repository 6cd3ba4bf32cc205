"""The gateway as the one entrance, and its OpenAPI document."""

import re
from typing import Any

import httpx
import pytest

from tests.system.conftest import Shop
from tests.system.contract.routes import FOR_USERS, METHODS, OPEN, ROUTES, WITHOUT_BODY
from tests.system.selling import EVENTS, PURCHASES, TICKET_TYPES, OnSale, event_fields

JSON = "application/json"
PROBLEM = "application/problem+json"
EVENT, TICKET_TYPE = f"{EVENTS}{{id}}/", f"{TICKET_TYPES}{{id}}/"
SALES = "/api/sales/"
WEBHOOKS = "/api/webhooks/"
WEBHOOK = f"{WEBHOOKS}{{id}}/"
# What the contract says that each operation may be answered with.
ANSWERS: dict[tuple[str, str], set[int]] = {
    ("/api/users/", "post"): {201, 400, 403},
    ("/api/users/me/", "get"): {200, 401},
    ("/api/users/me/", "patch"): {200, 400, 401, 429},
    ("/api/users/me/password/", "post"): {200, 400, 401, 429},
    ("/api/users/me/delete/", "post"): {200, 400, 401, 409, 429},
    ("/api/keys/", "get"): {200, 401},
    ("/api/keys/", "post"): {201, 400, 401, 404, 409, 422},
    ("/api/keys/{id}/", "delete"): {204, 401, 404},
    ("/api/token/", "post"): {200, 401, 403},
    ("/api/token/refresh/", "post"): {200, 401},
    ("/api/token/verify/", "post"): {200, 401},
    ("/api/token/blacklist/", "post"): {200, 401},
    ("/.well-known/jwks.json", "get"): {200},
    (EVENTS, "get"): {200, 401},
    (EVENTS, "post"): {201, 400, 401, 404, 422},
    (EVENT, "get"): {200, 401},
    (EVENT, "put"): {200, 400, 401, 403},
    (EVENT, "patch"): {200, 400, 401, 403},
    (EVENT, "delete"): {204, 401, 403, 409},
    (f"{EVENT}notice/", "put"): {200, 400, 401, 403, 404, 412, 429},
    (SALES, "get"): {200, 304, 400, 503},
    (f"{SALES}{{id}}/", "get"): {200, 304, 400, 404, 503},
    (TICKET_TYPES, "get"): {200, 401},
    (TICKET_TYPES, "post"): {201, 400, 401, 403, 404, 422},
    (TICKET_TYPE, "get"): {200, 401},
    (TICKET_TYPE, "put"): {200, 400, 401, 403, 412, 428},
    (TICKET_TYPE, "patch"): {200, 400, 401, 403, 412, 428},
    (TICKET_TYPE, "delete"): {204, 401, 403},
    (f"{TICKET_TYPE}capacity/", "post"): {200, 400, 401, 403, 422},
    (f"{TICKET_TYPE}pause/", "post"): {200, 400, 401, 403, 422},
    (f"{TICKET_TYPE}resume/", "post"): {200, 400, 401, 403, 422},
    (PURCHASES, "get"): {200, 401},
    (PURCHASES, "post"): {201, 202, 400, 401, 413, 422, 429, 503},
    (f"{PURCHASES}{{id}}/", "get"): {200, 304, 401, 404},
    (f"{PURCHASES}{{id}}/events/", "get"): {200, 204, 401, 404},
    (f"{PURCHASES}{{id}}/confirm/", "post"): {200, 202, 400, 401, 403, 404, 409, 422, 503},
    (f"{PURCHASES}{{id}}/release/", "post"): {200, 202, 401, 404, 409, 422, 503},
    (f"{PURCHASES}{{id}}/cancel/", "post"): {201, 202, 400, 401, 403, 404, 409, 422, 503},
    (f"{EVENT}extend-holds/", "post"): {200, 202, 400, 401, 403, 404, 422, 503},
    (f"{EVENT}ledger/", "get"): {200, 400, 401, 403, 404, 409, 429, 503},
    (f"{EVENT}ledger/ndjson/", "get"): {200, 400, 401, 403, 404, 429, 503},
    (f"{EVENT}ledger/csv/", "get"): {200, 400, 401, 403, 404, 429, 503},
    (f"{EVENT}live/events/", "get"): {200, 401, 403, 404, 429, 503},
    (f"{EVENT}live/", "get"): {200, 401, 403, 404, 429, 503},
    (f"{EVENT}live/history/", "get"): {200, 400, 401, 403, 404, 429, 503},
    (f"{EVENT}audits/", "get"): {200, 400, 401, 403, 404, 429, 503},
    (f"{EVENT}audits/", "post"): {202, 400, 401, 403, 404, 422, 429, 503},
    (f"{EVENT}audits/{{audit}}/", "get"): {200, 401, 403, 404, 429, 503},
    (WEBHOOKS, "get"): {200, 401},
    (WEBHOOKS, "post"): {201, 400, 401, 404, 409, 422},
    (WEBHOOK, "get"): {200, 401, 404},
    (WEBHOOK, "patch"): {200, 400, 401, 404},
    (WEBHOOK, "delete"): {204, 401, 404},
    (f"{WEBHOOK}rotate-secret/", "post"): {200, 400, 401, 404, 409, 422},
    (f"{WEBHOOK}test/", "post"): {202, 400, 401, 404, 422},
    (f"{WEBHOOK}rewind/", "post"): {200, 400, 401, 404, 422},
    (f"{WEBHOOK}deliveries/", "get"): {200, 401, 404},
    ("/healthz", "get"): {200},
    ("/readyz", "get"): {200, 503},
}
OTHER_KINDS = {
    f"{EVENT}ledger/ndjson/": "application/x-ndjson",
    f"{EVENT}ledger/csv/": "text/csv",
    f"{EVENT}live/events/": "text/event-stream",
    f"{PURCHASES}{{id}}/events/": "text/event-stream",
}
# The headers of the contract that an answer has, by status.
HEADERS: dict[tuple[str, str], dict[int, set[str]]] = {
    (EVENTS, "post"): {
        201: {"Location", "ETag", "Idempotency-Replayed"},
        404: {"Idempotency-Replayed"},
        401: {"WWW-Authenticate"},
    },
    (TICKET_TYPE, "get"): {200: {"ETag"}},
    **{
        (path, "get"): {200: {"ETag", "Cache-Control"}, 503: {"Retry-After"}}
        for path in (SALES, f"{SALES}{{id}}/")
    },
    (PURCHASES, "post"): {
        201: {"Location", "Preference-Applied", "Idempotency-Replayed"},
        202: {"Location", "Retry-After", "Idempotency-Replayed"},
        400: {"Location", "Retry-After", "Idempotency-Replayed"},
        401: {"WWW-Authenticate"},
        429: {"Retry-After", "RateLimit"},
        503: {"Retry-After"},
    },
    (f"{PURCHASES}{{id}}/", "get"): {
        200: {"ETag", "Retry-After", "Cache-Control"},
        304: {"ETag"},
        401: {"WWW-Authenticate"},
    },
    (f"{EVENT}audits/", "post"): {202: {"Location", "Idempotency-Replayed"}},
    **{
        (f"{PURCHASES}{{id}}/{action}/", "post"): {
            202: {"Location", "Retry-After"},
            401: {"WWW-Authenticate"},
        }
        for action in ("confirm", "release", "cancel")
    },
}
# What a request may carry beside its body.
PAGE = ("page", "page_size", "cursor")
PARAMETERS: dict[tuple[str, str], set[str]] = {
    **{
        (path, "post"): {"Idempotency-Key"}
        for path in (EVENTS, TICKET_TYPES, "/api/keys/", f"{TICKET_TYPE}capacity/")
    },
    **{
        (f"{TICKET_TYPE}{action}/", "post"): {"id", "If-Match", "Idempotency-Key"}
        for action in ("pause", "resume")
    },
    (EVENTS, "get"): {"search", "owner", "starts_after", "ordering", *PAGE},
    (f"{EVENT}notice/", "put"): {"id", "If-Match"},
    (SALES, "get"): {"If-None-Match"},
    (TICKET_TYPES, "get"): {"event", *PAGE},
    (TICKET_TYPE, "put"): {"id", "If-Match"},
    (TICKET_TYPE, "patch"): {"id", "If-Match"},
    (PURCHASES, "get"): {"status", "ticket_type", *PAGE},
    (PURCHASES, "post"): {"Idempotency-Key", "Prefer"},
    (f"{PURCHASES}{{id}}/", "get"): {"id", "wait", "If-None-Match"},
    (f"{PURCHASES}{{id}}/confirm/", "post"): {"id", "Idempotency-Key", "Prefer"},
    (f"{EVENT}extend-holds/", "post"): {"id", "Idempotency-Key", "Prefer"},
    (f"{EVENT}live/history/", "get"): {"id", "from"},
    (f"{EVENT}audits/", "post"): {"id", "Idempotency-Key"},
    (f"{EVENT}audits/", "get"): {"id", *PAGE},
}


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, which may stand elsewhere in it."""
    if "$ref" not in part:
        return part
    place: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        place = place[step]
    found: dict[str, Any] = place
    return found


@pytest.fixture(scope="module")
def document(shop: Shop) -> dict[str, Any]:
    answer = shop.client().get("/api/schema/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)
    document: dict[str, Any] = answer.json()
    return document


def test_every_route_is_served_at_one_port(shop: Shop, buyer: httpx.Client) -> None:
    for path, methods in ROUTES.items():
        for method in methods & {"GET"}:
            answer = buyer.request(method, path)
            known = {"not_found", "permission_denied"}
            assert answer.status_code == 200 or answer.json()["code"] in known, path
    assert re.search(r"--port INTEGER +\[default: 8000\]", shop.operator.run("up", "--help").stdout)


def test_all_bodies_are_json(shop: Shop, buyer: httpx.Client) -> None:
    for client in (buyer, shop.client()):
        for path in ROUTES.keys() - {"/api/docs/", "/metrics"}:  # for people, and for Prometheus
            for method in METHODS:
                answer = client.request(method, path, json={})
                kind = JSON if answer.is_success else PROBLEM
                assert answer.headers["Content-Type"] == kind, (method, path)
                assert isinstance(answer.json(), dict)


def test_a_path_without_its_slash_is_redirected_with_the_method_kept(
    buyer: httpx.Client, organiser: httpx.Client, on_sale: OnSale
) -> None:
    for path in ROUTES:
        for method in METHODS:
            if path.endswith("/"):
                bare = buyer.request(method, path.removesuffix("/") + "?a=1&a=%2F", json={})
                location = bare.headers["Location"]
                assert (bare.status_code, location) == (308, f"{path}?a=1&a=%2F"), (method, path)
    body = {"ticket_type": on_sale(1), "quantity": 1}
    assert buyer.post(PURCHASES[:-1], json=body, follow_redirects=True).status_code == 202
    created = organiser.post(EVENTS[:-1], json=event_fields(), follow_redirects=True)
    assert created.status_code == 201
    bare = created.headers["Location"][:-1]
    changed = organiser.patch(bare, json={"title": "Opera"}, follow_redirects=True)
    assert (changed.status_code, changed.json()["title"]) == (200, "Opera")
    assert organiser.delete(bare, follow_redirects=True).status_code == 204


def test_every_route_is_in_the_openapi_document(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    documented = {
        (path, method)
        for path, item in document["paths"].items()
        for method in item
        if method.upper() in METHODS
    }
    not_json = {("/api/schema/", "get"), ("/api/docs/", "get"), ("/metrics", "get")}
    assert documented - not_json == ANSWERS.keys()
    for path, method in ANSWERS:
        route = path if path.startswith(PURCHASES) else re.sub(r"{\w+}", "1", path)
        needs_token = bool(document["paths"][path][method].get("security"))
        assert needs_token is (route in FOR_USERS or path.startswith(PURCHASES)), path
        assert needs_token is not (route in OPEN), path


def test_every_body_is_in_the_openapi_document(document: dict[str, Any]) -> None:
    for path, method in ANSWERS:
        operation = document["paths"][path][method]
        writes = method in ("post", "put", "patch")
        has_body = writes and re.sub(r"{\w+}", "1", path) not in WITHOUT_BODY
        assert has_body is (JSON in operation.get("requestBody", {}).get("content", {})), path
        for status, answer in operation["responses"].items():
            if status in ("204", "304"):
                assert "content" not in answer, (path, method, status)
            else:
                kind = OTHER_KINDS.get(path, JSON) if status.startswith("2") else PROBLEM
                assert [*answer["content"]] == [kind], (path, method, status)
                assert answer["content"][kind]["schema"], (path, method, status)


def test_every_header_is_in_the_openapi_document(document: dict[str, Any]) -> None:
    for (path, method), by_status in HEADERS.items():
        for status, headers in by_status.items():
            documented = document["paths"][path][method]["responses"][str(status)].get(
                "headers", {}
            )
            assert headers <= documented.keys(), (path, method, status)
    for (path, method), parameters in PARAMETERS.items():
        named = document["paths"][path][method]["parameters"]
        documented = {resolved(document, parameter)["name"] for parameter in named}
        assert parameters <= documented, (path, method)


def test_every_error_is_in_the_openapi_document(document: dict[str, Any]) -> None:
    for (path, method), statuses in ANSWERS.items():
        documented = document["paths"][path][method]["responses"].keys()
        assert {str(status) for status in statuses} <= documented, (path, method)
        assert ("422" in documented) is (422 in statuses), (path, method)


def test_the_openapi_document_has_pages_at_api_docs(shop: Shop) -> None:
    page = shop.client().get("/api/docs/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/api/schema/" in page.text
