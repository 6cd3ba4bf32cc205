"""Pages and assets, and who may use the API from other pages, against a real gateway process."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from gateway.pages.files import asset_hash, assets
from shared.config.settings import Settings
from tests.support.gateways import running_gateway
from tests.support.servers import new_database

PAGES = ["/", "/events/7/", "/console/"]
ASSETS = f"/assets/{asset_hash()}"
SHOP = "https://shop.example"
PREFLIGHT = {
    "Origin": SHOP,
    "Sec-Fetch-Site": "cross-site",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,prefer",
}


@pytest.fixture(scope="module")
def gateway(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[httpx.Client]:
    with new_database(postgres_url) as url:
        settings = Settings(database_url=url, redis_url=valkey_url, keys_dir=keys_dir)
        with running_gateway(settings, cors_origins=f"http://a.example:8080, {SHOP}") as client:
            yield client


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_loads_is_ours_and_found_by_a_relative_url(
    gateway: httpx.Client, page: str
) -> None:
    html = gateway.get(page)
    assert html.headers["Content-Type"] == "text/html; charset=utf-8"
    links = re.findall(r'<(?:script|link)\b[^>]*(?:src|href)="([^"]+)"', html.text)
    assert links
    for link in links:
        assert not link.startswith(("/", "http:", "https:", "data:"))
        assert gateway.get(urljoin(page, link)).status_code == 200, link
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", html.text) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_may_do_nothing_that_its_files_do_not(gateway: httpx.Client, page: str) -> None:
    headers = gateway.get(page).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "same-origin"
    names = [name for name, _ in headers.multi_items()]
    assert len(names) == len(set(names))
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_an_asset_is_cached_forever_and_a_page_is_checked_each_time(gateway: httpx.Client) -> None:
    asset = gateway.get(f"{ASSETS}/core/api.js")
    assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert asset.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert gateway.get("/").headers["Cache-Control"] == "no-cache"
    for path in ("/", f"{ASSETS}/core/api.js"):
        etag = gateway.get(path).headers["ETag"]
        again = gateway.get(path, headers={"If-None-Match": f'"x", W/{etag}'})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)


@pytest.mark.parametrize(
    ("accept", "is_gzipped"),
    [("gzip, br", True), ("*", True), ("gzip;q=0, *", False), ("br", False), ("", False)],
)
def test_what_is_sent_is_what_the_client_reads(
    gateway: httpx.Client, accept: str, is_gzipped: bool
) -> None:
    headers = {"Accept-Encoding": accept}
    with gateway.stream("GET", f"{ASSETS}/core/api.js", headers=headers) as answer:
        content = b"".join(answer.iter_raw())
    assert (answer.headers.get("Content-Encoding") == "gzip") is is_gzipped
    assert int(answer.headers["Content-Length"]) == len(content)
    assert answer.headers["Vary"] == "Accept-Encoding"
    plain = gzip.decompress(content) if is_gzipped else content
    assert plain == assets()[f"{ASSETS}/core/api.js"].plain.body


@pytest.mark.parametrize(
    "path",
    [
        *("/assets/0123456789abcdef/core/api.js", f"{ASSETS}/core/nothing.js", f"{ASSETS}/core/"),
        *(
            f"{ASSETS}/../../html/console.html",
            f"{ASSETS}/%2e%2e/files.py",
            f"{ASSETS}//etc/passwd",
        ),
        *("/events/", "/events/x/", "/events/0/", "/console/x/", "/storefront.html"),
    ],
)
def test_no_other_path_is_a_file(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_page_without_its_slash_is_redirected(gateway: httpx.Client) -> None:
    for path in ("/console", "/events/7"):
        answer = gateway.get(f"{path}?a=1", headers={"X-Forwarded-Prefix": "/tickets"})
        assert (answer.status_code, answer.headers["Location"]) == (308, f"/tickets{path}/?a=1")


def test_there_is_an_icon_for_responses_that_name_none(gateway: httpx.Client) -> None:
    assert gateway.head("/favicon.ico").headers["Content-Type"] == "image/svg+xml"


def test_pages_of_an_allowed_origin_use_the_api(gateway: httpx.Client) -> None:
    preflight = gateway.options("/api/ticket-purchases/", headers=PREFLIGHT)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
    from_shop = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
    for answer, status in (
        (gateway.post("/api/ticket-purchases/", headers=from_shop, json={}), 401),
        (gateway.post("/api/users/", headers=from_shop, json={}), 400),
        (gateway.get("/api/events", headers=from_shop), 308),
    ):
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Access-Control-Allow-Credentials" not in answer.headers
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert {"Date", "ETag", "Location", "Retry-After", "RateLimit", "X-Request-ID"} <= exposed
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil.example"])
def test_pages_of_another_origin_do_not(gateway: httpx.Client, origin: str) -> None:
    preflight = gateway.options("/api/users/", headers=PREFLIGHT | {"Origin": origin})
    assert preflight.status_code == 400
    answer = gateway.post("/api/users/", headers={"Origin": origin}, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    for each in (preflight, answer):
        assert "Access-Control-Allow-Origin" not in each.headers


def test_nothing_but_the_api_is_for_other_pages(gateway: httpx.Client) -> None:
    from_shop = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site", "Cookie": "eventify_refresh=x"}
    refresh = gateway.post("/session/refresh/", headers=from_shop)
    assert (refresh.status_code, refresh.json()["code"]) == (403, "cross_site_request")
    assert gateway.options("/session/", headers=PREFLIGHT).status_code == 405
    for path in ("/", "/session/", f"{ASSETS}/core/api.js"):
        assert "Access-Control-Allow-Origin" not in gateway.get(path, headers=from_shop).headers


def test_a_cache_keeps_responses_of_the_api_by_origin(gateway: httpx.Client) -> None:
    assert gateway.get("/api/events/").headers["Vary"].endswith("Origin")
