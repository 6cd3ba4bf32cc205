"""Where buyers pay: what every browser opens, and nothing that it runs."""

import pytest

from catalog.events.payment_url import payment_url


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/pay?a=1#b",
        "http://localhost:8080",
        "HTTPS://Shop.Example/",
        "https://xn--bcher-kva.example/",
        "https://a_b.example./",
        "http://127.0.0.1:80/",
        "https://[::1]:8443/",
        "https://shop.example/?to=a@b",
    ],
)
def test_an_address_stays_as_it_was_written(url: str) -> None:
    assert payment_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "/pay", "//shop.example/", "https:shop.example", "https:///pay", "https://"),
        *("javascript:alert(1)", "data:text/html,x", "ftp://shop.example/", "blob:https://a/b"),
        *("https://me@shop.example/", "https://me:secret@shop.example/", "https://@shop.example/"),
        *("https://shop.example/a b", "https://shop.example/\n", "https://shop\t.example/"),
        *("https://shop.example\\@evil.example/", "https:\\\\shop.example/", "https://é.example/"),
        *("https://shop.example:x/", "https://shop.example:99999/", "https://a:1:2/"),
        # What a browser cannot parse, or reads as another host.
        *("https://a<b/", "https://a%20b/", "https://a|b/", "https://a..b/", "https://-a.b/"),
        *("https://1.2.3.999/", "https://127.1/", "https://0x7f.1/", "https://xn--/"),
        *("https://[::g]/", "https://[v1.a]/", "https://[fe80::1%25eth0]/", "https://[::1]x/"),
    ],
)
def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^Must "):
        payment_url(url)
