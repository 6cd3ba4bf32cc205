"""Hostile queries, headers, paths and request lines: a clear error, never a crash."""

import json

import pytest

from tests.support.wire import Wire
from tests.system.hostile.attacker import PURCHASES, Attacker, check
from tests.system.hostile.target import Target

LISTS = ["/api/events/", "/api/ticket-types/", PURCHASES]
PARAMETERS = [
    *("page", "page_size", "ticket_type", "event", "owner", "search", "status", "wait"),
    *("ordering", "starts_after", "cursor"),
]
VALUES = [
    *("", "0", "-1", "1.5", "1e9", "NaN", "null", "%00", "%ED%A0%80", "%ff", "%D9%A3", "_%25"),
    *(str(2**63), "9" * 30, "9" * 5_000, "'%20OR%201=1--", "1;2", "x" * 300, "%252e"),
    *("0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59"),
]
QUERIES = [
    *("", "&&&===", "%", "%zz", "%00", "%ff=%fe", "a[]=1&a[b]=2", "a=1&" * 5_000, "x" * 20_000),
    *(f"{name}={value}" for name in PARAMETERS for value in VALUES),
    *(f"{name}=1&{name}=x" for name in PARAMETERS),
]
HEADERS = [
    *("Prefer", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID", "Accept", "Host"),
    *("X-Forwarded-Host", "X-Forwarded-Proto", "Content-Type", "Content-Encoding", "Range"),
    *("Cookie", "Upgrade", "Connection", "Expect", "Last-Event-ID", "If-Modified-Since"),
]
HEADER_VALUES = [
    *(
        b"",
        b"*",
        b'"',
        b'""',
        b"W/",
        b'W/"',
        b"[",
        b"[::1",
        b"http://[",
        b"@",
        b"a b",
        b"?#",
        b"a\tb",
    ),
    *(b"\xff\xfe", "é\u202e".encode(), b"%00%0d%0aX: y", b"," * 3_000, b'"' * 3_000, b"x" * 9_000),
    *(b"wait=99999999999999999999", b"wait=-1", b"wait" * 800, b"wait" + b" " * 3_000 + b"=x"),
    *(b"text/event-stream;q=nan", b"*/*;q=" + b"9" * 400, b"application/json; charset=\xff"),
    *(b"multipart/form-data; boundary=", b"gzip", b"100-continue", b"close, close", b"websocket"),
    *(b"bytes=0-0,-1", b"tickets.example:99999999", b"${jndi:ldap://x}"),
]
PATHS = [
    *("%00", "1%00", "%2f", "%2F..%2f", "..", "../1", ".", "%2e%2e", "%252e", "%c0%af", "%ff"),
    *("0", "-1", "+1", "01", "1.0", "1e3", "1_0", "0x1", "%201", "1%0a", "%D9%A3", "%EF%BC%91"),
    *(str(2**63 - 1), str(2**63), "9" * 400, "9" * 5_000, "x" * 8_000, ";a=b", "a%3fb", "'--"),
    *("1/1", "1//", "/", "//", "\\", "%5c..%5c", "{id}", "*", "~", "me", "%ed%a0%80", "1%0d%0aX:y"),
]
# Others are in `tests/system/wire/table.py`.
LINES = [
    *(b"GET http://elsewhere.example/api/events/ HTTP/1.1", b"GET /api/events/\xff HTTP/1.1"),
    *(b"GET //elsewhere.example/api HTTP/1.1", b"GET /api//elsewhere.example HTTP/1.1"),
    *(b"GET  HTTP/1.1", b"TRACE /api/events/ HTTP/1.1", b"\x16\x03\x01\x02"),
]


def test_a_hostile_query_crashes_nothing(target: Target, attacker: Attacker) -> None:
    for address in (*LISTS, f"{PURCHASES}{target.purchase}/", "/api/users/me/"):
        for query in QUERIES:
            answer = attacker.request("GET", f"{address}?{query}")
            check(answer, address, query[:200])


def test_a_hostile_header_crashes_nothing(target: Target, attacker: Attacker) -> None:
    calls: list[tuple[str, str, bytes | None]] = [
        ("POST", PURCHASES, json.dumps(target.purchase_body).encode()),
        ("GET", f"{PURCHASES}{target.purchase}/", None),
        (
            "PATCH",
            target.address("/api/ticket-types/{id}/"),
            json.dumps(target.ticket_type_body).encode(),
        ),
    ]
    for name in HEADERS:
        # A write waits for its row's turn: unless its own header is tried, it stops before that.
        stale = [] if name == "If-Match" else ['If-Match: "stale"']
        for value in HEADER_VALUES:
            line = name.encode() + b": " + value
            for method, address, sent in calls:
                answer = attacker.request(method, address, [line, *stale], sent)
                check(answer, method, address, line[:200])


def test_a_hostile_path_crashes_nothing(attacker: Attacker) -> None:
    for prefix in ("/", "/api/", *LISTS, "/api/users/", "/docs-assets/", "/.well-known/"):
        for path in PATHS:
            for method, body in (("GET", None), ("POST", b"{}")):
                for end in ("", "/"):
                    answer = attacker.request(method, f"{prefix}{path}{end}", [], body)
                    check(answer, method, prefix, path[:200], end)


@pytest.mark.parametrize("line", LINES)
def test_a_strange_request_line_crashes_nothing(wire: Wire, line: bytes) -> None:
    answer = wire.say(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    check(answer, line)
    # It redirects to no other host.
    assert not answer.headers.get("location", "/").startswith(("//", "http"))
