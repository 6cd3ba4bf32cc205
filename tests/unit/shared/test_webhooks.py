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
    ("url", "problem"),
    [
        ("https://shop.example/hooks?x=1", None),
        ("https://shop.example:8443/", None),
        ("https://8.8.8.8/", None),
        ("HTTPS://shop.example", None),
        ("http://shop.example/", "must be an https:// URL"),
        ("ftp://shop.example/", "must be an https:// URL"),
        ("https:///path", "must be an https:// URL"),
        ("shop.example/hooks", "must be an https:// URL"),
        ("https://user@shop.example/", "must have no user info and no fragment"),
        ("https://user:secret@shop.example/", "must have no user info and no fragment"),
        ("https://shop.example/#", "must have no user info and no fragment"),
        ("https://shop.example:99999/", "must be a URL"),
        ("https://shop\\.example@10.0.0.1/", "must be a URL"),
        ("https://shöp.example/", "must be a URL of printable ASCII characters"),
        ("https://shop.example/\t", "must be a URL of printable ASCII characters"),
        ("https://shop example/", "must be a URL of printable ASCII characters"),
        ("https://127.0.0.1/", "must be a public address"),
        ("https://[::1]/", "must be a public address"),
        ("https://[::ffff:10.0.0.1]/", "must be a public address"),
        ("https://localhost/", "must be a public address"),
        ("https://api.localhost./", "must be a public address"),
        ("https://LOCALHOST./", "must be a public address"),
        ("https://0.0.0.0/", "must be a public address"),
        ("https://[64:ff9b::10.0.0.1]/", "must be a public address"),
        ("https://10.0.0.1./", "must be a public address"),
        ("https://10.1/", "must be a public address"),
        ("https://167772161/", "must be a public address"),
        ("https://012.0.0.1/", "must be a public address"),
        ("https://0xa000001/", "must be a public address"),
        ("https://xn--shp-8na.example/", None),
        ("https://xn--a/", "must be a URL"),
        ("https://xn--zz--zz/", "must be a URL"),
        ("https://shop.example:65535/", None),
        ("https://shop.example:65536/", "must be a URL"),
        ("https://shop.example:0/", "must have a host as DNS writes it, and no port 0"),
        ("https://%31%30.0.0.1/", "must have a host as DNS writes it, and no port 0"),
        ("https://[fe80::1%25eth0]/", "must have a host as DNS writes it, and no port 0"),
        (f"https://shop.example/{'x' * URL_MAX_CHARACTERS}", "must have at most 2000 characters"),
    ],
)
def test_what_a_url_must_be(url: str, problem: str | None) -> None:
    assert url_problem(url, allow_http=False, allowed=()) == problem


def test_http_is_allowed_where_the_operator_says_so() -> None:
    networks = parse_networks("127.0.0.0/8")
    assert url_problem("http://127.0.0.1:80/", allow_http=True, allowed=networks) is None
