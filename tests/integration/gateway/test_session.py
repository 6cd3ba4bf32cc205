"""Sign-in for pages, over HTTP against a real gateway process."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.cookies import Morsel, SimpleCookie
from itertools import count
from pathlib import Path

import httpx
import pytest

from shared.config.settings import Settings
from tests.support.gateways import running_gateway
from tests.support.servers import new_database

PASSWORD = "velvet-tram-42"
BURST = 3
WRITES = [("POST", "/session/"), ("POST", "/session/refresh/"), ("DELETE", "/session/")]
# `http.cookies` takes seconds for it (CVE-2024-7592) before Python 3.11.10 and 3.12.6.
BACKSLASHES = '"' + "\\" * 60_000 + '"'
ANSWERED_SECONDS = 2
_numbers = count(1)


@pytest.fixture(scope="module")
def gateway(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[httpx.Client]:
    """Reached through a trusted proxy, so that each test can have limits of its own."""
    with new_database(postgres_url) as url:
        settings = Settings(
            database_url=url, redis_url=valkey_url, keys_dir=keys_dir, sign_in_rate_burst=BURST
        )
        with running_gateway(settings) as client:
            yield client


class Browser:
    """A page at an address of its own. It keeps the cookie, also over plain HTTP."""

    def __init__(self, gateway: httpx.Client) -> None:
        self.gateway = gateway
        self.headers = {
            "X-Forwarded-For": f"198.51.100.{next(_numbers)}",
            "Origin": str(gateway.base_url),
            "Sec-Fetch-Site": "same-origin",
        }
        self.username = f"visitor{next(_numbers)}"
        self.cookie = ""

    def send(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = self.headers | ({"Cookie": self.cookie} if self.cookie else {})
        answer = self.gateway.request(method, path, headers=headers, json=body)
        for morsel in cookies_of(answer).values():
            self.cookie = f"{morsel.key}={morsel.value}" if morsel["max-age"] != "0" else ""
        return answer

    def sign_in(self) -> httpx.Response:
        credentials = {"username": self.username, "password": PASSWORD}
        assert self.send("POST", "/api/users/", credentials).status_code == 201
        return self.send("POST", "/session/", credentials)


def cookies_of(answer: httpx.Response) -> Mapping[str, "Morsel[str]"]:
    return SimpleCookie(answer.headers.get("Set-Cookie", ""))


@pytest.fixture
def browser(gateway: httpx.Client) -> Browser:
    return Browser(gateway)


def test_the_refresh_token_is_in_a_cookie_that_no_script_reads(browser: Browser) -> None:
    answer = browser.sign_in()
    body = answer.json()
    assert body.keys() == {"access", "expires_in", "user"}
    assert 3_590 < body["expires_in"] <= 3_600
    assert body["user"]["username"] == browser.username
    assert answer.headers["Cache-Control"] == "no-store"
    (cookie,) = cookies_of(answer).values()
    assert cookie.value not in answer.text
    attributes = {name: value for name, value in cookie.items() if value}
    assert attributes == {
        "path": "/session/",
        "max-age": "86400",
        "httponly": True,
        "secure": True,
        "samesite": "Strict",
    }
    bearer = {"Authorization": f"Bearer {body['access']}"}
    assert browser.gateway.get("/api/users/me/", headers=bearer).json()["id"] == body["user"]["id"]


def test_a_session_goes_on_until_it_is_signed_out(browser: Browser) -> None:
    first = browser.sign_in().json()
    stolen = browser.cookie
    second = browser.send("POST", "/session/refresh/").json()
    assert (second["user"], second["access"] != first["access"]) == (first["user"], True)
    signed_out = browser.send("DELETE", "/session/")
    assert (signed_out.status_code, browser.cookie) == (204, "")

    browser.cookie = stolen
    dead = browser.send("POST", "/session/refresh/")
    assert (dead.status_code, dead.json()["code"], browser.cookie) == (401, "token_not_valid", "")
    browser.cookie = stolen
    assert (browser.send("DELETE", "/session/").status_code, browser.cookie) == (204, "")


def test_tabs_that_renew_at_the_same_moment_stay_signed_in(browser: Browser) -> None:
    browser.sign_in()
    before = browser.cookie
    with ThreadPoolExecutor(4) as tabs:
        answers = list(
            tabs.map(
                lambda _: browser.gateway.post(
                    "/session/refresh/", headers=browser.headers | {"Cookie": before}
                ),
                range(4),
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["Set-Cookie"] for answer in answers}) == 1
    assert len({answer.json()["access"] for answer in answers}) == 1


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1"])
def test_only_a_page_of_this_origin_has_a_session(browser: Browser, origin: str | None) -> None:
    browser.sign_in()
    del browser.headers["Origin"]
    browser.headers |= {"Origin": origin} if origin else {}
    for method, path in WRITES:
        answer = browser.send(method, path, None if method == "DELETE" else {})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request"), path
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers


def test_without_a_cookie_nobody_is_signed_in_and_no_limit_counts_it(browser: Browser) -> None:
    for method, path in WRITES[1:]:
        for _ in range(6 * BURST):
            answer = browser.send(method, path)
            assert (answer.status_code, answer.content) == (204, b"")
            assert "RateLimit" not in answer.headers


def test_the_cookie_is_found_among_others(browser: Browser) -> None:
    browser.sign_in()
    for others in (
        "a=1; {}",
        "{};b",
        "eventify_refresh=former; {}",
        "{}; my_{}; eventify_refresh2=x",
    ):
        browser.cookie = others.replace("{}", browser.cookie)
        assert browser.send("POST", "/session/refresh/").status_code == 200, others
    for others in ("eventify_refresh", "a=eventify_refresh=x", "eventify_refresh2=x"):
        browser.cookie = others
        assert browser.send("POST", "/session/refresh/").status_code == 204, others


@pytest.mark.parametrize(
    ("name", "method", "path", "status"),
    [
        ("a", "GET", "/healthz", 200),
        ("a", "GET", "/.well-known/jwks.json", 200),
        ("a", "POST", "/api/token/verify/", 400),
        ("a", "POST", "/session/refresh/", 204),
        ("eventify_refresh", "POST", "/session/refresh/", 401),
        ("eventify_refresh", "DELETE", "/session/", 204),
    ],
)
def test_no_cookie_holds_a_gateway_up(
    browser: Browser, name: str, method: str, path: str, status: int
) -> None:
    browser.cookie = f"{name}={BACKSLASHES}"
    began_at = time.monotonic()
    assert browser.send(method, path).status_code == status
    assert time.monotonic() - began_at < ANSWERED_SECONDS


def test_the_api_reads_no_cookie(browser: Browser) -> None:
    browser.sign_in()
    assert browser.send("GET", "/api/users/me/").status_code == 401
    assert browser.send("POST", "/api/token/refresh/", {}).status_code == 400


def test_sign_ins_of_pages_and_of_the_api_share_their_limits(browser: Browser) -> None:
    wrong = {"username": "nobody", "password": "x"}
    paths = ["/api/token/", "/session/"] * BURST
    codes = [browser.send("POST", path, wrong).json()["code"] for path in paths]
    assert codes == ["invalid_credentials"] * BURST + ["too_many_requests"] * BURST
    assert browser.cookie == ""


def test_refreshes_of_pages_and_of_the_api_share_their_limits(browser: Browser) -> None:
    browser.sign_in()
    limits = [
        int(answer.headers["RateLimit"].partition("r=")[2].partition(";")[0])
        for answer in (
            browser.send("POST", "/api/token/refresh/", {"refresh": "x"}),
            browser.send("POST", "/session/refresh/"),
            browser.send("DELETE", "/session/"),
        )
    ]
    assert limits[0] == 5 * BURST - 1
    # One may have come back meanwhile, or two on a slow machine.
    assert limits[0] - 2 <= min(limits[1:]) < limits[0]


def test_behind_a_path_prefix_the_cookie_has_it(browser: Browser) -> None:
    browser.headers["X-Forwarded-Prefix"] = "/tickets"
    (cookie,) = cookies_of(browser.sign_in()).values()
    assert cookie["path"] == "/tickets/session/"


def test_bodies_are_as_strict_as_those_of_the_api(browser: Browser) -> None:
    credentials = {"username": "a", "password": "b"}
    unknown = browser.send("POST", "/session/", credentials | {"remember": True})
    assert unknown.json()["errors"] == {"remember": ["Unknown field."]}
    assert browser.send("POST", "/session/", {"username": "x" * 100_000}).status_code == 413
    for path in ("/session", "/session/refresh", "/session/elsewhere/"):
        assert browser.send("POST", path, credentials).status_code == 404
    assert browser.send("GET", "/session/").status_code == 405
