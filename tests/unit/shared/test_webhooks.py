"""Where webhooks may be sent."""

from ipaddress import ip_network

import pytest
from AntiSSRF import IPAddressRanges

from shared.config.public_url import parse_networks
from shared.webhooks import URL_MAX_CHARACTERS, is_allowed_address, url_problem


@pytest.mark.parametrize("network", IPAddressRanges.recommended_latest)
def test_what_others_keep_as_not_public_is_refused(network: str) -> None:
    listed = ip_network(network)
    for address in (listed[0], listed[-1]):
        assert not is_allowed_address(str(address))
        if address.version == 4:
            assert not is_allowed_address(f"::ffff:{address}")
            assert not is_allowed_address(f"64:ff9b::{address}")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed_address(address)


@pytest.mark.parametrize(
    "address", ["::10.0.0.1", "fe80::1%eth0", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1"]
)
def test_other_forms_of_the_same_are_refused(address: str) -> None:
    assert not is_allowed_address(address)


def test_an_operator_may_allow_networks() -> None:
    allowed = parse_networks("10.0.0.0/8, fd00::/8")
    assert is_allowed_address("10.1.2.3", allowed)
    assert is_allowed_address("::ffff:10.1.2.3", allowed)
    assert is_allowed_address("fd00::1", allowed)
    assert not is_allowed_address("192.168.0.1", allowed)


@pytest.mark.parametrize(
    ("address", "allowed", "is_allowed"),
    [
        ("64:ff9b::8.8.8.8", "64:ff9b::/96", True),
        ("64:ff9b::10.0.0.1", "64:ff9b::/96", False),
        ("64:ff9b::127.0.0.1", "64:ff9b::/96", False),
        ("64:ff9b::169.254.169.254", "64:ff9b::/96", False),
        ("64:ff9b::10.0.0.1", "64:ff9b::/96, 10.0.0.0/8", True),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8", False),
        ("64:ff9b::8.8.8.8", "", False),
    ],
)
def test_behind_nat64_the_ipv4_address_is_judged(
    address: str, allowed: str, is_allowed: bool
) -> None:
    assert is_allowed_address(address, parse_networks(allowed)) is is_allowed


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://shop.example/hooks?x=1", None),
        ("https://shop.example:8443/", None),
        ("https://8.8.8.8/", None),
        ("HTTPS://shop.example", None),
        ("http://shop.example/", "Must be an https:// URL."),
        ("ftp://shop.example/", "Must be an https:// URL."),
        ("https:///path", "Must be an https:// URL."),
        ("shop.example/hooks", "Must be an https:// URL."),
        ("https://user@shop.example/", "Must have no user info and no fragment."),
        ("https://user:secret@shop.example/", "Must have no user info and no fragment."),
        ("https://shop.example/#", "Must have no user info and no fragment."),
        ("https://shop.example:99999/", "Must be a URL."),
        ("https://shop\\.example@10.0.0.1/", "Must be a URL."),
        ("https://shöp.example/", "Must be a URL of printable ASCII characters."),
        ("https://shop.example/\t", "Must be a URL of printable ASCII characters."),
        ("https://shop example/", "Must be a URL of printable ASCII characters."),
        ("https://127.0.0.1/", "Must be a public address."),
        ("https://[::1]/", "Must be a public address."),
        ("https://[::ffff:10.0.0.1]/", "Must be a public address."),
        ("https://localhost/", "Must be a public address."),
        ("https://api.localhost./", "Must be a public address."),
        ("https://LOCALHOST./", "Must be a public address."),
        ("https://0.0.0.0/", "Must be a public address."),
        ("https://[64:ff9b::10.0.0.1]/", "Must be a public address."),
        ("https://10.0.0.1./", "Must be a public address."),
        ("https://10.1/", "Must be a public address."),
        ("https://167772161/", "Must be a public address."),
        ("https://012.0.0.1/", "Must be a public address."),
        ("https://0xa000001/", "Must be a public address."),
        ("https://xn--shp-8na.example/", None),
        ("https://xn--a/", "Must be a URL."),
        ("https://xn--zz--zz/", "Must be a URL."),
        ("https://shop.example:65535/", None),
        ("https://shop.example:65536/", "Must be a URL."),
        ("https://shop.example:0/", "Must have a host as DNS writes it, and no port 0."),
        ("https://%31%30.0.0.1/", "Must have a host as DNS writes it, and no port 0."),
        ("https://[fe80::1%25eth0]/", "Must have a host as DNS writes it, and no port 0."),
        (f"https://shop.example/{'x' * URL_MAX_CHARACTERS}", "Must have at most 2000 characters."),
    ],
)
def test_what_a_url_must_be(url: str, problem: str | None) -> None:
    assert url_problem(url, allow_http=False, allowed=()) == problem


def test_http_is_allowed_where_the_operator_says_so() -> None:
    networks = parse_networks("127.0.0.0/8")
    assert url_problem("http://127.0.0.1:80/", allow_http=True, allowed=networks) is None
