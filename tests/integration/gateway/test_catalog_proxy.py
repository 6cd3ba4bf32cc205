"""The door to the catalog, the merged document and health, against a real gateway process.

Behind the gateway stands a small HTTP server which tells what it was sent.
"""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.gateways import running_app, running_gateway
from tests.support.servers import new_database
from tests.support.waiting import eventually

CATALOG_DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "catalog", "version": "1"},
    "paths": {"/api/events/": {"get": {}}, "/healthz": {"get": {}}},
    "components": {"schemas": {"Event": {"type": "object"}}},
}


async def stand_in(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent; some paths have answers of their own."""
    request = Request(scope, receive)
    body = await request.body()
    answers: dict[str, Response] = {
        "/api/schema/": JSONResponse(CATALOG_DOCUMENT),
        "/api/events/gone/": Response(status_code=204),
        "/api/events/unchanged/": Response(status_code=304, headers={"ETag": '"a"'}),
        "/api/events/elsewhere/": Response(
            status_code=308, headers={"Location": "/api/events/1/", "Set-Cookie": "a=b"}
        ),
        "/api/events/teapot/": Response(
            '{"code": "teapot"}',
            418,
            {
                "Content-Type": "application/problem+json",
                "ETag": '"a"',
                "Allow": "GET, BREW",
                "Retry-After": "7",
                "WWW-Authenticate": "Bearer",
                "Cache-Control": "no-store",
                "Connection": "X-Private",
                "X-Private": "for the next hop only",
                "X-Request-ID": "the-catalogs-own",
            },
        ),
    }
    echo = {
        "method": request.method,
        "target": (scope["raw_path"] + b"?" + scope["query_string"]).decode("latin-1"),
        "headers": [
            [name.decode(), value.decode("latin-1")] for name, value in request.headers.raw
        ],
        "body": body.decode("latin-1"),
    }
    await answers.get(scope["path"], JSONResponse(echo))(scope, receive, send)


@pytest.fixture(scope="module")
def gateway_settings(postgres_url: str, keys_dir: Path) -> Iterator[Settings]:
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url, keys_dir=keys_dir, catalog_url=f"http://127.0.0.1:{free_port()}"
        )


@pytest.fixture(scope="module")
def gateway(gateway_settings: Settings) -> Iterator[httpx.Client]:
    """A gateway with the stand-in behind it."""
    with (
        running_app(stand_in, gateway_settings.catalog_url),
        running_gateway(gateway_settings, user_id=1) as client,
    ):
        yield client


def get_target(gateway: httpx.Client, target: bytes) -> bytes:
    """Ask for a target as it is, which no HTTP client would let pass, and read the whole answer."""
    authorization = gateway.headers["Authorization"].encode()
    request = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: %b\r\n\r\n"
    with socket.create_connection((gateway.base_url.host, gateway.base_url.port or 80)) as line:
        line.sendall(request % (target, authorization))
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_a_request_reaches_the_catalog_with_what_concerns_it(gateway: httpx.Client) -> None:
    answer = gateway.put(
        "/api/ticket-types/1/",
        content=b'{"name": "\xc3\xa9"}',
        headers={
            "Accept": "application/json",
            "If-Match": '"a"',
            "If-None-Match": '"b"',
            "Cookie": "session=1",
            "X-Forwarded-For": "192.0.2.1",
            "X-Request-ID": "req-1",
            "Host": "tickets.example",
        },
    )
    reported = answer.json()
    headers = dict(reported["headers"])
    assert (reported["method"], reported["body"]) == ("PUT", '{"name": "Ã©"}')
    assert {name: headers[name] for name in headers if name not in ("host", "content-length")} == {
        "authorization": gateway.headers["Authorization"],
        "accept": "application/json",
        "content-type": "application/json",
        "if-match": '"a"',
        "if-none-match": '"b"',
        "x-request-id": "req-1",
        "x-forwarded-host": "tickets.example",
        "x-forwarded-proto": "http",
    }
    assert len(reported["headers"]) == len(headers)
    assert answer.headers.get_list("x-request-id") == ["req-1"]
    assert len(answer.headers.get_list("date")) == 1


def test_a_stranger_does_not_get_as_far_as_the_catalog(gateway: httpx.Client) -> None:
    for value, code in (("", "not_authenticated"), ("Bearer x", "token_malformed")):
        answer = gateway.get("/api/events/teapot/", headers={"Authorization": value})
        assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_goes_through(gateway: httpx.Client, method: str) -> None:
    assert gateway.request(method, "/api/events/").json()["method"] == method


def test_head_reports_the_length_and_sends_nothing(gateway: httpx.Client) -> None:
    answer = gateway.head("/api/events/")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == b""


@pytest.mark.parametrize(
    "target",
    [
        b"/api/events/?search=a%2Fb%20c+d&x=%C3%A9&&=&search=",
        b"/api/events/%61%2e%2E/;p='()*!$,:@~/",
        b"/api/events//double//slash/",
        b'/api/events/?next=http://x/?y=[1]|{2}^`"<>\\',
        b"/api/events/../events/./1/",
        b"/api/events/%00%ff/",
    ],
)
def test_path_and_query_pass_byte_for_byte(gateway: httpx.Client, target: bytes) -> None:
    answer = get_target(gateway, target)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    assert json.loads(body)["target"].removesuffix("?").encode("latin-1") == target


def test_a_target_that_is_no_ascii_crashes_nothing(gateway: httpx.Client) -> None:
    answer = get_target(gateway, b"/api/events/?q=\xff\xfe")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200")), answer


def test_the_catalogs_answer_comes_back_as_it_is(gateway: httpx.Client) -> None:
    answer = gateway.get("/api/events/teapot/")
    assert answer.status_code == 418
    assert answer.content == b'{"code": "teapot"}'
    for name, value in {
        "content-type": "application/problem+json",
        "etag": '"a"',
        "allow": "GET, BREW",
        "retry-after": "7",
        "www-authenticate": "Bearer",
        "cache-control": "no-store",
    }.items():
        assert answer.headers.get_list(name) == [value]
    assert "x-private" not in answer.headers
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.headers["x-request-id"] != "the-catalogs-own"


@pytest.mark.parametrize(("path", "status"), [("gone", 204), ("unchanged", 304)])
def test_an_answer_without_body_has_no_length(
    gateway: httpx.Client, path: str, status: int
) -> None:
    answer = gateway.get(f"/api/events/{path}/")
    assert (answer.status_code, answer.content) == (status, b"")
    assert "content-length" not in answer.headers


def test_a_redirect_is_the_clients_to_follow_and_cookies_are_nobodys(gateway: httpx.Client) -> None:
    answer = gateway.get("/api/events/elsewhere/")
    assert (answer.status_code, answer.headers["location"]) == (308, "/api/events/1/")
    gateway.cookies.clear()
    assert "cookie" not in dict(gateway.get("/api/events/").json()["headers"])


def test_a_body_that_is_too_large_stops_at_the_gateway(gateway: httpx.Client) -> None:
    answer = gateway.post("/api/events/", content=b" " * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_document_is_gzipped_and_sent_only_when_it_changed(gateway: httpx.Client) -> None:
    answers = {
        encoding: gateway.get("/api/schema/", headers={"Accept-Encoding": encoding})
        for encoding in ("identity", "gzip")
    }
    plain, gzipped = answers.values()
    assert plain.json() == gzipped.json()
    assert plain.json()["servers"] == [{"url": "/"}]
    assert "Content-Encoding" not in plain.headers
    assert gzipped.headers["Content-Encoding"] == "gzip"
    assert int(gzipped.headers["Content-Length"]) < len(plain.content) / 5
    assert plain.headers["ETag"] != gzipped.headers["ETag"]
    for encoding, answer in answers.items():
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert answer.headers["Vary"] == "Accept-Encoding"
        headers = {"Accept-Encoding": encoding, "If-None-Match": f'"x", {answer.headers["ETag"]}'}
        unchanged = gateway.get("/api/schema/", headers=headers)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["ETag"] == answer.headers["ETag"]
        head = gateway.head("/api/schema/", headers={"Accept-Encoding": encoding})
        assert head.content == b""
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_the_docs_page_needs_no_other_host_and_no_script_of_its_own(
    gateway: httpx.Client,
) -> None:
    page = gateway.get("/api/docs/")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "../../api/schema/" in links
    for link in links:
        assert not urlsplit(link).netloc, link
        assert gateway.get(urljoin("/api/docs/", link)).status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert re.findall(r"<script(?! src=)|<style|\bon\w+=|style=", page.text) == []


def test_the_docs_page_keeps_no_tokens(gateway: httpx.Client) -> None:
    script = gateway.get("/docs-assets/eventify-docs.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "persistAuthorization: false" in script.text


@pytest.mark.parametrize(
    "path",
    [
        *("/api/docs/", "/docs-assets/swagger-ui.css", "/docs-assets/eventify-docs.js"),
        *("/api/schema/", "/api/events/", "/api/events/teapot/", "/nowhere", "/api/users/me/"),
    ],
)
def test_answers_say_what_a_browser_may_do_with_them(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path, headers={"Authorization": "Bearer x"} if "users" in path else {})
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_list("X-Frame-Options") == ["DENY"]
    assert answer.headers.get_list("Referrer-Policy") == ["no-referrer"]
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("asked", ["bytes=0-1", "bytes=abc", "bytes=9999999-", "items=0-1"])
def test_a_file_is_answered_as_a_whole(gateway: httpx.Client, asked: str) -> None:
    path = "/docs-assets/swagger-ui.css"
    answer = gateway.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "none")
    assert answer.content == gateway.get(path).content


@pytest.mark.parametrize("path", ["/", "/docs-assets/swagger-ui.css"])
def test_pages_are_only_read(gateway: httpx.Client, path: str) -> None:
    answer = gateway.post(path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/api/ticket-purchases/1/", "/api/events"])
def test_a_short_answer_is_not_taken_for_a_page_either(gateway: httpx.Client, path: str) -> None:
    assert gateway.get(path).headers["X-Content-Type-Options"] == "nosniff"


def test_while_the_catalog_is_away_the_rest_goes_on(gateway_settings: Settings) -> None:
    catalog_url = f"http://127.0.0.1:{free_port()}"
    with running_gateway(
        gateway_settings, user_id=1, catalog_url=catalog_url, schema_cache_seconds=0
    ) as client:
        answer = client.get("/api/events/")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "/api/events/" not in client.get("/api/schema/").json()["paths"]
        assert client.get("/.well-known/jwks.json").status_code == 200

        def is_described() -> None:
            assert "/api/events/" in client.get("/api/schema/").json()["paths"]

        # Back again, it needs no restart of the gateway; gone again, its document is remembered.
        with running_app(stand_in, catalog_url):
            assert client.get("/api/events/").status_code == 200
            eventually(is_described)  # it is not asked again at once
        assert client.get("/api/events/").status_code == 503
        assert "/api/events/" in client.get("/api/schema/").json()["paths"]


def test_a_catalog_that_never_answers_is_not_waited_for(gateway_settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running_gateway(
            gateway_settings,
            user_id=1,
            catalog_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            catalog_timeout_seconds=0.2,
        ) as client,
    ):
        answer = client.post("/api/events/", json={})
        assert answer.status_code == 503
        assert "look whether it was done" in answer.json()["detail"]
