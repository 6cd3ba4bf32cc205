"""Which address clients used, and where they come from: who may say so, and what is ignored."""

import pytest
from starlette.types import Scope

from shared.config.public_url import parse_origins, parse_public_url
from shared.web.public_address import PublicAddresses

PROXY = "10.0.0.1"
Headers = dict[str, str]


def scope(
    headers: Headers | list[tuple[str, str]],
    *,
    peer: tuple[str, int] | None = (PROXY, 50_000),
    server: tuple[str, int | None] = ("10.0.0.9", 8000),
) -> Scope:
    lines = headers.items() if isinstance(headers, dict) else headers
    return {
        "type": "http",
        "scheme": "http",
        "client": peer,
        "server": server,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in lines],
    }


def forwarded(**by_name: str) -> Headers:
    return {"Host": "inside:8000"} | {
        f"X-Forwarded-{name.capitalize()}": value for name, value in by_name.items()
    }


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({"Host": "shop.example"}, "http://shop.example"),
        ({"Host": "Shop.Example:8080"}, "http://Shop.Example:8080"),
        ({"Host": "[2001:db8::1]:8000"}, "http://[2001:db8::1]:8000"),
        ({}, "http://10.0.0.9:8000"),
        ({"Host": ""}, "http://10.0.0.9:8000"),
        ({"Host": "shop.example/path"}, "http://10.0.0.9:8000"),
        ({"Host": 'x"><script>'}, "http://10.0.0.9:8000"),
        ({"Host": "shop.example@evil.example"}, "http://10.0.0.9:8000"),
        (forwarded(proto="https"), "https://inside:8000"),
        (forwarded(proto="HTTPS"), "https://inside:8000"),
        (forwarded(proto="https, http"), "https://inside:8000"),
        (forwarded(proto="http,https"), "http://inside:8000"),
        (forwarded(proto="javascript"), "http://inside:8000"),
        (forwarded(proto=", https"), "http://inside:8000"),
        (forwarded(proto=""), "http://inside:8000"),
        (forwarded(host="shop.example"), "http://shop.example"),
        (forwarded(host="shop.example, cache.inside"), "http://shop.example"),
        (forwarded(host="shop.example:8443", proto="https"), "https://shop.example:8443"),
        (forwarded(host=""), "http://inside:8000"),
        (forwarded(host="shop example"), "http://inside:8000"),
        (forwarded(host="evil.example/x?"), "http://inside:8000"),
        (forwarded(host="\xe9vil.example"), "http://inside:8000"),
        (forwarded(prefix="/tickets"), "http://inside:8000/tickets"),
        (forwarded(prefix="/tickets/"), "http://inside:8000/tickets"),
        (forwarded(prefix="/a/b, /c"), "http://inside:8000/a/b"),
        (forwarded(prefix="/"), "http://inside:8000"),
        (forwarded(prefix="tickets"), "http://inside:8000"),
        (forwarded(prefix="//evil.example"), "http://inside:8000"),
        (forwarded(prefix="/a/../b"), "http://inside:8000"),
        (forwarded(prefix="/%2e%2E/b"), "http://inside:8000"),
        (forwarded(prefix="/a/.%2e"), "http://inside:8000"),
        (forwarded(host="shop.example:65536"), "http://inside:8000"),
        (forwarded(prefix="/a?b"), "http://inside:8000"),
        (forwarded(prefix="/" + "a" * 1_000), "http://inside:8000"),
    ],
)
def test_the_address_is_what_the_client_sent_or_a_trusted_proxy_says(
    headers: Headers, url: str
) -> None:
    assert PublicAddresses("", PROXY).of(scope(headers)).url == url


def test_the_lines_of_a_header_are_one_list() -> None:
    lines = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http"), ("Host", "a")]
    assert PublicAddresses("", PROXY).of(scope(lines)).url == "https://a"


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ("", PROXY, False),
        ("127.0.0.1,::1", PROXY, False),
        (PROXY, PROXY, True),
        (" 192.0.2.1 , 10.0.0.0/8 ", PROXY, True),
        ("10.0.0.7/8", PROXY, True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", f"::ffff:{PROXY}", True),
        ("::1", "::1", True),
        ("2001:db8::/32", "2001:db8::7", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "2001:db8::7", False),
        ("*", "203.0.113.1", True),
        ("*", None, True),
        ("127.0.0.1", None, False),
    ],
)
def test_only_a_trusted_proxy_may_set_the_address(
    trusted: str, peer: str | None, believed: bool
) -> None:
    sent = scope(
        forwarded(**{"proto": "https", "host": "shop.example", "prefix": "/t", "for": "192.0.2.9"}),
        peer=(peer, 1) if peer is not None else None,
    )
    addresses = PublicAddresses("", trusted)
    reported = (addresses.of(sent).url, addresses.prefix(sent), addresses.client(sent))
    if believed:
        assert reported == ("https://shop.example/t", "/t", "192.0.2.9")
    else:
        assert reported == ("http://inside:8000", "", peer or "")


def test_a_public_url_is_the_address_of_all_requests() -> None:
    addresses = PublicAddresses("https://shop.example/tickets/", "*")
    for headers in ({}, {"Host": "other"}, forwarded(proto="http", host="other", prefix="/x")):
        assert addresses.of(scope(headers)).url == "https://shop.example/tickets"
        assert addresses.prefix(scope(headers)) == "/tickets"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        (["203.0.113.5"], "203.0.113.5"),
        # What the client sent itself stands to the left of what the proxy added.
        (["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
        (["198.51.100.1", "203.0.113.5"], "203.0.113.5"),
        (["198.51.100.1, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
        (["10.0.0.2"], "10.0.0.2"),
        (["203.0.113.5:4711"], "203.0.113.5"),
        (["[2001:db8::5]:4711"], "2001:db8::5"),
        (["[2001:db8::5]"], "2001:db8::5"),
        (["2001:db8::5"], "2001:db8::5"),
        (["::ffff:203.0.113.5"], "203.0.113.5"),
        # Junk is nobody's address: it counts for the proxy that passed it on.
        (["unknown"], PROXY),
        (["203.0.113.5, unknown"], PROXY),
        (["203.0.113.5, "], PROXY),
        (["203.0.113.5, junk, 10.0.0.2"], "10.0.0.2"),
        (["[", "[]", "::::", "\xe9"], PROXY),
        (["203.0.113.5", ", ".join(["10.0.0.2"] * 1_000)], "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(
    lines: list[str], client: str
) -> None:
    headers = [("X-Forwarded-For", line) for line in lines]
    assert PublicAddresses("", "10.0.0.0/8").client(scope(headers)) == client


def test_any_peer_may_be_trusted_but_not_the_hops_before_it() -> None:
    headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.5"}
    assert PublicAddresses("", "*").client(scope(headers)) == "203.0.113.5"


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("https://shop.example", True),
        ("http://SHOP.example", True),
        ("https://shop.example:443", True),
        ("https://shop.example:8443", False),
        ("https://www.shop.example", False),
        ("https://shop.example.evil.example", False),
        ("https://shop.example@evil.example", False),
        ("ftp://shop.example", False),
        ("null", False),
        ("", False),
        ("shop.example", False),
    ],
)
def test_an_origin_is_compared_with_host_and_port(origin: str, own: bool) -> None:
    for host in (
        "shop.example",
        "shop.example:443" if origin.startswith("https") else "SHOP.example",
    ):
        address = PublicAddresses("", "").of(scope({"Host": host}))
        assert address.has_origin(origin) is own


@pytest.mark.parametrize(
    "url",
    [
        *("shop.example", "//shop.example", "ftp://shop.example", "https://", "https:///tickets"),
        *("https://user@shop.example", "https://user:pw@shop.example", "https://shop.example?a=1"),
        *("https://shop.example?", "https://shop.example/#a", "https://shop.example:99999"),
        *("https://shop example", "https://[::1", "https://sh\xf6p.example", "https://a//b//c"),
        *("https://shop.example/a b", "https://shop.example/../a", "https://shop.example:x"),
        "https://shop.example/a;Domain=example",
    ],
)
def test_a_malformed_public_url_is_an_error(url: str) -> None:
    with pytest.raises(ValueError):
        parse_public_url(url)


@pytest.mark.parametrize("trusted", ["proxy", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "*,10.0.0.1"])
def test_a_proxy_that_is_not_an_address_is_an_error(trusted: str) -> None:
    with pytest.raises(ValueError, match="addresses or networks"):
        PublicAddresses("", trusted)


@pytest.mark.parametrize(
    ("setting", "origins"),
    [
        ("", ()),
        ("https://shop.example", ("https://shop.example",)),
        (" https://Shop.Example:443 ,http://a:80,", ("https://shop.example", "http://a")),
        ("http://a:443,http://[::1]:3000", ("http://a:443", "http://[::1]:3000")),
    ],
)
def test_origins_are_those_that_browsers_send(setting: str, origins: tuple[str, ...]) -> None:
    assert parse_origins(setting) == origins


@pytest.mark.parametrize(
    "setting", ["*", "null", "shop.example", "https://a/", "https://a/b", "https://*.example"]
)
def test_what_is_no_origin_is_an_error(setting: str) -> None:
    with pytest.raises(ValueError):
        parse_origins(f"https://shop.example,{setting}")
