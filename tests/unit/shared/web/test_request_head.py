"""The rules of RFC 9110 and RFC 9112 for the head of a request."""

import pytest

from shared.errors import InvalidInput
from shared.web.request_head import (
    HOST,
    check_head,
    is_host,
    join_repeated,
    read_target,
    request_id,
)


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"",
            b"tickets.example",
            b"tickets.example:8000",
            b"tickets.example:",
            b"TICKETS.example",
        ),
        *(
            b"127.0.0.1:80",
            b"[::1]",
            b"[::1]:8000",
            b"[2001:db8::7]:443",
            b"a_b.example",
            b"%C3%A9",
        ),
        *(b"tickets.example.", b"localhost:65535"),
    ],
)
def test_a_host(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *(b"a b", b"a/b", b"a?b", b"a#b", b"u@a", b"a,b", b"[", b"[::1", b"::1", b"[x]", b"[:::]"),
        *(
            b"a:b",
            b"a:80:80",
            b"a:99999",
            b"a:" + b"9" * 5_000,
            b"a:-1",
            b"\xe9",
            b"%zz",
            b"%",
            b"a\tb",
        ),
        *(b"http://a", b"<a>", b'"a"', b"a\\b", b"[::1]x"),
    ],
)
def test_no_host(host: bytes) -> None:
    assert not is_host(host)


def test_a_long_host_is_read_in_one_pass() -> None:
    assert HOST.fullmatch(b"a%41" * 16_000)
    assert not HOST.fullmatch(b"a%41" * 16_000 + b"%")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", b"/a?b=c", (b"/a", b"b=c", None)),
        ("GET", b"//a/b?", (b"//a/b", b"", None)),
        ("GET", b"/a?b#c?d", (b"/a", b"b", None)),
        ("GET", b"http://a.example/b?c", (b"/b", b"c", b"a.example")),
        ("GET", b"HTTPS://a.example:8000/b", (b"/b", b"", b"a.example:8000")),
        ("GET", b"http://a.example", (b"/", b"", b"a.example")),
        ("GET", b"http://a.example?b", (b"/", b"b", b"a.example")),
        ("GET", b"http://[::1]:80/", (b"/", b"", b"[::1]:80")),
        ("OPTIONS", b"*", (b"*", b"", None)),
    ],
)
def test_the_target(
    method: str, target: bytes, expected: tuple[bytes, bytes, bytes | None]
) -> None:
    assert read_target(method, target) == expected


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("GET", b"*"), ("GET", b"ftp://a/b"), ("GET", b"http://u@a/b"), ("GET", b"http:///b")),
        *(("GET", b"a.example:80"), ("GET", b"http://a:99999/"), ("GET", b"")),
    ],
)
def test_no_target(method: str, target: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_target(method, target)


def test_a_list_in_several_lines_is_one_list() -> None:
    assert join_repeated(
        [
            (b"accept", b"a"),
            (b"host", b"x"),
            (b"accept", b"b, c"),
            (b"cookie", b"1"),
            (b"if-match", b'"a"'),
            (b"cookie", b"2"),
            (b"accept", b""),
        ]
    ) == [
        (b"accept", b"a, b, c, "),
        (b"host", b"x"),
        (b"cookie", b"1"),
        (b"if-match", b'"a"'),
        (b"cookie", b"2"),
    ]


@pytest.mark.parametrize("name", [b"idempotency-key", b"content-type", b"host", b"origin"])
def test_a_single_valued_header_must_not_be_repeated(name: bytes) -> None:
    with pytest.raises(InvalidInput) as error:
        join_repeated([(name, b"a"), (b"x", b"y"), (name, b"a")])
    assert error.value.errors == {name.decode().title(): ["Send this header once."]}


@pytest.mark.parametrize(
    ("method", "version", "headers"),
    [
        ("GET", "1.1", {}),
        ("GET", "1.1", {b"host": b"a b"}),
        ("GET", "1.0", {b"host": b"a b"}),
        ("GET", "0.9", {}),
        ("GET", "2.0", {b"host": b"x"}),
        ("CONNECT", "1.1", {b"host": b"x"}),
        *(
            ("POST", "1.1", {b"host": b"x", b"transfer-encoding": coding})
            for coding in (b"gzip, chunked", b"identity", b"chunked, chunked", b"", b'"chunked"')
        ),
        ("POST", "1.0", {b"transfer-encoding": b"chunked"}),
    ],
)
def test_an_invalid_head(method: str, version: str, headers: dict[bytes, bytes]) -> None:
    with pytest.raises(InvalidInput):
        check_head(method, version, headers.get(b"host"), headers.get(b"transfer-encoding"))


def test_a_valid_head() -> None:
    check_head("GET", "1.0", None, None)
    check_head("POST", "1.1", b"x", b"Chunked")


def test_the_clients_request_id_is_used_if_it_is_harmless() -> None:
    assert request_id([(b"x-request-id", b"a-1")]) == b"a-1"
    assert request_id([(b"x-request-id", b"a 1")]) != b"a 1"
    assert len(request_id([])) == 36
