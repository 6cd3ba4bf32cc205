"""URLs in links and redirects, behind any proxy; and cross-site requests."""

import re
import socket
from contextlib import closing
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.support.reverse_proxy import reverse_proxy
from tests.support.wire import Wire
from tests.system.conftest import Shop
from tests.system.selling import EVENTS, PURCHASES, TICKET_TYPES, OnSale, create, event_fields

LISTS = (EVENTS, TICKET_TYPES, PURCHASES)


@pytest.fixture(scope="module")
def trader(shop: Shop) -> httpx.Client:
    """Has two rows in each list, so that a page of one has a next."""
    trader = shop.user()
    for _ in range(2):
        event = create(trader, EVENTS, event_fields())
        fields = {"event": event["id"], "name": "Standing", "price": "25.00", "capacity": 5}
        ticket_type = create(trader, TICKET_TYPES, fields)
        body = {"ticket_type": ticket_type["id"], "quantity": 1}
        assert trader.post(PURCHASES, json=body).status_code == 202
    return trader


def next_pages(trader: httpx.Client, lines: list[str], version: str = "1.1") -> set[str]:
    """Where the lists say that their next page is, each without the list's own path."""
    pages = set()
    for path in LISTS:
        head = [
            f"GET {path}?page_size=1 HTTP/{version}",
            f"Authorization: {trader.headers['Authorization']}",
            *("Connection: close", *lines, "", ""),
        ]
        with closing(Wire(str(trader.base_url))) as wire:
            answer = wire.say("\r\n".join(head).encode())
        assert answer.status == 200, answer
        link = answer.json()["next"]
        assert link.endswith(f"{path}?page_size=1&page=2"), link
        pages.add(link.removesuffix(f"{path}?page_size=1&page=2"))
    return pages


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        (["Host: shop.example"], "http://shop.example"),
        (["Host: inside", "X-Forwarded-Host: shop.example"], "http://shop.example"),
        (["Host: a", "X-Forwarded-Host: shop.example, cache"], "http://shop.example"),
        (
            ["Host: a", "X-Forwarded-Host: shop.example", "X-Forwarded-Host: b"],
            "http://shop.example",
        ),
        (["Host: a", "X-Forwarded-Host: sh op"], "http://a"),
        (["Host: a", "X-Forwarded-Proto: https"], "https://a"),
        (["Host: a", "X-Forwarded-Proto: https, http"], "https://a"),
        (["Host: a", "X-Forwarded-Proto: gopher"], "http://a"),
        (["Host: a", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Prefix: /t/"], "https://a/t"),
        (["Host: a", "X-Forwarded-Prefix: //evil.example"], "http://a"),
        (["Host: a", "X-Forwarded-Port: 8443", "Forwarded: host=evil.example"], "http://a"),
    ],
)
def test_all_lists_link_to_the_address_that_the_client_used(
    trader: httpx.Client, lines: list[str], url: str
) -> None:
    assert next_pages(trader, lines) == {url}


def test_without_a_host_links_lead_to_the_port_that_was_asked(
    shop: Shop, trader: httpx.Client
) -> None:
    assert next_pages(trader, [], version="1.0") == {shop.url}


def test_mounted_under_a_path_all_links_keep_it(
    shop: Shop, trader: httpx.Client, on_sale: OnSale
) -> None:
    """As the manual of nginx has it; the client follows nothing but what it was given."""
    with reverse_proxy(shop.url, "/tickets", {"X-Forwarded-Prefix": "/tickets"}) as url:
        host = url.removesuffix("/tickets")

        def ask(method: str, link: str, **body: object) -> httpx.Response:
            return httpx.request(
                method,
                urljoin(f"{url}/", link),
                json=body or None,
                headers=trader.headers,
                timeout=30,
            )

        for path in LISTS:
            page = ask("GET", f"{url}{path}?page_size=1").json()
            assert page["next"].startswith(url)
            second = ask("GET", page["next"]).json()
            assert ask("GET", second["previous"]).json()["results"] == page["results"]

        bought = ask("POST", f"{url}{PURCHASES}", ticket_type=on_sale(2), quantity=1)
        assert bought.headers["Location"] == f"/tickets{PURCHASES}{bought.json()['id']}/"
        assert ask("GET", bought.headers["Location"]).json()["id"] == bought.json()["id"]
        created = ask("POST", f"{url}{EVENTS}", **event_fields())
        assert created.headers["Location"] == f"/tickets{EVENTS}{created.json()['id']}/"
        assert ask("GET", created.headers["Location"]).json() == created.json()

        slash = ask("GET", f"{url}/api/events?page_size=1")
        assert (slash.status_code, slash.headers["Location"]) == (
            308,
            "/tickets/api/events/?page_size=1",
        )
        for path in ("/", "/events/1", "/console", "/api/docs/"):
            page = httpx.get(f"{url}{path}", follow_redirects=True)
            links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
            assert links
            for link in links:
                there = httpx.get(urljoin(str(page.url), link), follow_redirects=True)
                assert there.status_code == 200, (path, link)
        servers = httpx.get(f"{url}/api/schema/").json()["servers"]
        assert [urljoin(host, server["url"]) for server in servers] == [url]


CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.shop.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Site": "unheard-of"},
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    {"Origin": ""},
]
WRITES = [
    ("POST", "/api/users/"),
    ("POST", "/api/users"),
    ("POST", "/api/token/"),
    ("POST", "/api/token/blacklist/"),
    ("POST", EVENTS),
    ("PUT", f"{EVENTS}1/"),
    ("DELETE", f"{TICKET_TYPES}1/"),
    ("POST", PURCHASES),
    ("POST", "/metrics"),
    ("PROPFIND", EVENTS),
]


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
def test_a_cross_site_request_of_a_browser_is_an_error(
    shop: Shop, trader: httpx.Client, headers: dict[str, str]
) -> None:
    for method, path in WRITES:
        body = b'{"username": "made-by-another-site", "password": "four lamps in june"}'
        answer = trader.request(method, path, headers=headers, content=body)
        answered = (answer.status_code, answer.json()["code"])
        assert answered == (403, "cross_site_request"), (method, path)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-ID"]
        assert trader.get(PURCHASES, headers=headers).status_code == 200
    with shop.database() as rows:
        rows.execute("SELECT count(*) FROM users WHERE username = 'made-by-another-site'")
        assert rows.fetchone() == (0,)


def test_a_cross_site_request_is_answered_before_its_body_is_read(trader: httpx.Client) -> None:
    url = urlsplit(str(trader.base_url))
    head = "POST /api/users/ HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nContent-Length: 50\r\n\r\n"
    with socket.create_connection((url.hostname, url.port), timeout=30) as line:
        line.sendall(head.encode())
        assert line.recv(65_536).startswith(b"HTTP/1.1 403 Forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://shop.example"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://shop.example", "Host": "shop.example"},
        {"Origin": "https://shop.example", "Host": "shop.example"},
        {"Origin": "https://shop.example", "Host": "inside", "X-Forwarded-Host": "shop.example"},
        {"Origin": "https://shop.example:443", "Host": "shop.example"},
    ],
    ids=str,
)
def test_our_own_pages_and_other_programs_may_send_everything(
    trader: httpx.Client, headers: dict[str, str]
) -> None:
    assert trader.post("/api/users/", headers=headers, content=b"{}").json()["code"] == "invalid"
    assert trader.post(PURCHASES, headers=headers, content=b"{}").json()["code"] == "invalid"
