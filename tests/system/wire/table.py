"""What is sent, and what has to come back: RFC 9110 (HTTP) and RFC 9112 (HTTP/1.1) as data.

What stands in angle brackets is filled in by the runner: `<buy>` is a whole purchase, `<body>` its
body, `<chunks>` the same in chunks, `<buyer>` and `<organiser>` values of an Authorization header.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Statuses = Sequence[int | set[int]]
CRLF = "\r\n"
PURCHASES = "/api/ticket-purchases/"
ME = "GET /api/users/me/ HTTP/1.1\r\nHost: x\r\nAuthorization: <buyer>\r\n"
BUY_HEAD = f"POST {PURCHASES} HTTP/1.1\r\nHost: x\r\nAuthorization: <buyer>\r\n"
LENGTH = "Content-Length: <length>\r\n"
OPEN = "/.well-known/jwks.json"
OK = {200, 201, 202}


@dataclass(frozen=True)
class Case:
    """A conversation; the runner appends a request to what should leave the connection open."""

    name: str
    source: str  # the section that decides it
    sent: Sequence[str]  # in packets
    answers: Statuses
    # Through nginx, where it answers in another way, most often itself; empty: it does not apply.
    by_nginx: Statuses | None = None
    closes: bool = False
    half_closes: bool = False
    bought: int = 0
    methods: Sequence[str] = ()


def buy(lines: str = "", framing: str = LENGTH, body: str = "<body>") -> str:
    return BUY_HEAD + lines + framing + CRLF + body


def refused(name: str, source: str, *sent: str, by_nginx: Statuses = ({400},)) -> Case:
    return Case(name, source, sent, [400], by_nginx, closes=True)


WHITE_SPACE = [
    Case(
        f"white space {place} an Idempotency-Key",
        "RFC 9110, 5.5",
        [buy("Idempotency-Key: a\r\nPrefer: wait=20\r\n") + buy(f"Idempotency-Key:{value}\r\n")],
        [201, {200, 201}],
        bought=1,
    )
    for place, value in (("behind", " a "), ("before", "   a"), ("of tabs around", "\ta\t"))
] + [
    Case("none before a value", "RFC 9110, 5.5", [buy("Prefer:wait=20\r\n")], [201], bought=1),
    Case(
        "around the token",
        "RFC 9110, 5.5",
        ["GET /api/users/me/ HTTP/1.1\r\nHost: x\r\nAuthorization: <buyer> \t\r\n\r\n"],
        [200],
    ),
    refused("before the colon", "RFC 9112, 5.1", ME + "X : y\r\n\r\n", by_nginx=[{200, 400}]),
    refused("before the first header", "RFC 9112, 2.2", ME.replace("Host", " Host") + CRLF),
    refused("a folded header", "RFC 9112, 5.2", ME + "X: y\r\n z\r\n\r\n", by_nginx=[{200, 400}]),
    refused("bare LF", "RFC 9112, 2.2", ME.replace("\r\n", "\n") + "\n", by_nginx=[{200, 400}]),
    refused("bare CR in a value", "RFC 9112, 2.2", ME + "X: a\rb\r\n\r\n"),
    refused("NUL in a value", "RFC 9110, 5.5", ME + "X: a\0b\r\n\r\n"),
    refused(
        "a name that is no token", "RFC 9110, 5.1", ME + "X(: y\r\n\r\n", by_nginx=[{200, 400}]
    ),
    Case("an empty line before a request", "RFC 9112, 2.2", [CRLF + ME + CRLF], [200]),
    refused("white space before a request", "RFC 9112, 3", "  " + ME + CRLF),
]

REPEATED = [
    Case(
        "two Idempotency-Key lines",
        "RFC 9110, 5.3",
        [buy("Idempotency-Key: A\r\nIdempotency-Key: B\r\n")],
        [400],
        closes=True,
        by_nginx=[400],
    ),
    Case(
        "the same Idempotency-Key twice",
        "RFC 9110, 5.3",
        [buy("Idempotency-Key: A\r\nX: y\r\nidempotency-key: A\r\n")],
        [400],
        closes=True,
        by_nginx=[400],
    ),
    Case(
        "Prefer in two lines",
        "RFC 9110, 5.3",
        [buy("Prefer: respond-async\r\nPrefer: wait=20\r\n")],
        [201],
        bought=1,
    ),
    Case(
        "two Authorization lines",
        "RFC 9110, 11.6.2",
        [buy("Authorization: <buyer>\r\n")],
        [401],
        by_nginx=[{400, 401}],
    ),
    refused("two Content-Length lines", "RFC 9112, 6.3", buy(LENGTH)),
    refused("two other lengths", "RFC 9112, 6.3", buy("Content-Length: 3\r\n")),
    refused("two Content-Type lines", "RFC 9110, 8.3", buy("Content-Type: a/b\r\n" * 2)),
    Case(
        "If-Match in two lines",
        "RFC 9110, 5.3",
        [
            (
                "PATCH <ticket_type_path> HTTP/1.1\r\nHost: x\r\nAuthorization: <organiser>\r\n"
                'If-Match: "stale"\r\nIf-Match: <etag>\r\nContent-Length: 2\r\n\r\n{}'
            )
        ],
        [200],
        by_nginx=[{200, 400}],
    ),
    Case(
        "If-None-Match in two lines",
        "RFC 9110, 5.3",
        [
            (
                "GET <ticket_type_path> HTTP/1.1\r\nHost: x\r\nAuthorization: <organiser>\r\n"
                'If-None-Match: <etag>\r\nIf-None-Match: "stale"\r\n\r\n'
            )
        ],
        [304],
        by_nginx=[{304, 400}],
    ),
]

HOST = [
    refused("no Host", "RFC 9112, 3.2", ME.replace("Host: x\r\n", "") + CRLF),
    refused("two Hosts", "RFC 9112, 3.2", ME + "Host: y\r\n\r\n"),
    refused("the same Host twice", "RFC 9112, 3.2", ME + "Host: x\r\n\r\n"),
    *(
        refused(f"Host: {host}", "RFC 9112, 3.2", ME.replace("Host: x", f"Host: {host}") + CRLF)
        for host in ("a/b", "a b", "[::1")
    ),
    refused(
        "Host: x, y",
        "RFC 9112, 3.2",
        ME.replace("Host: x", "Host: x, y") + CRLF,
    ),
    Case(
        "a target in absolute form",
        "RFC 9112, 3.2.2",
        [ME.replace("/api", "http://tickets.example/api") + CRLF],
        [200],
    ),
    refused(
        "a target in absolute form of another scheme",
        "RFC 9112, 3.2.2",
        ME.replace("/api", "ftp://tickets.example/api") + CRLF,
        by_nginx=[{200, 400}],
    ),
    refused(
        "a target in absolute form without Host",
        "RFC 9112, 3.2",
        ME.replace("/api", "http://tickets.example/api").replace("Host: x\r\n", "") + CRLF,
        by_nginx=[{200, 400}],
    ),
    Case(
        "HTTP/1.0 without Host",
        "RFC 9112, 3.2",
        [f"GET {OPEN} HTTP/1.0\r\n\r\n"],
        [200],
        closes=True,
        by_nginx=[{200, 400}],
    ),
]

TRANSFER_ENCODING = [
    Case(
        "chunked",
        "RFC 9112, 7.1",
        [buy(framing="Transfer-Encoding: chunked\r\n", body="<chunks>")],
        [202],
        bought=1,
    ),
    Case(
        "chunked, with extensions and trailers",
        "RFC 9112, 7.1",
        [
            buy("Idempotency-Key: a\r\n", "Transfer-Encoding: Chunked\r\n", "<odd_chunks>")
            + buy("Idempotency-Key: a\r\n")
        ],
        [202, {201, 202}],
        bought=1,
    ),
    *(
        refused(
            f"Transfer-Encoding: {coding}",
            "RFC 9112, 6.1",
            buy(framing=f"Transfer-Encoding: {coding}\r\n", body="<chunks>"),
            by_nginx=[{400, 501}],
        )
        for coding in (
            "gzip, chunked",
            "chunked, gzip",
            "gzip",
            "identity",
            "chunked, chunked",
            "x",
        )
    ),
    refused(
        "Transfer-Encoding with Content-Length",
        "RFC 9112, 6.1",
        buy(framing="Transfer-Encoding: chunked\r\n" + LENGTH, body="<chunks>"),
    ),
    refused(
        "Content-Length with Transfer-Encoding",
        "RFC 9112, 6.1",
        buy(framing=LENGTH + "Transfer-Encoding: chunked\r\n", body="<chunks>"),
    ),
    refused(
        "two Transfer-Encoding lines",
        "RFC 9112, 6.1",
        buy(framing="Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", body="<chunks>"),
        by_nginx=[{400, 501}],
    ),
    refused(
        "Transfer-Encoding in HTTP/1.0",
        "RFC 9112, 6.1",
        buy(framing="Transfer-Encoding: chunked\r\n", body="<chunks>").replace("/1.1", "/1.0"),
    ),
    *(
        refused(
            f"Content-Length: {given}",
            "RFC 9110, 8.6",
            buy(framing=f"Content-Length: {given}\r\n"),
        )
        for given in ("+40", "-1", "0x28", "40, 40", "4 0", "9" * 30)
    ),
    *(
        refused(
            f"a chunk that begins with {chunk!r}",
            "RFC 9112, 7.1",
            buy(framing="Transfer-Encoding: chunked\r\n", body=chunk),
            by_nginx=[{400, 408}],
        )
        for chunk in ("zz\r\n", "-1\r\n", "0x1\r\n ", "f" * 20 + "\r\n")
    ),
]

UPGRADES = {
    "foo": "Connection: Upgrade\r\nUpgrade: foo\r\n",
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
    "without Connection": "Upgrade: foo\r\n",
}
UPGRADE = [
    case
    for name, lines in UPGRADES.items()
    for case in (
        Case(f"Upgrade: {name}", "RFC 9110, 7.8", [buy(lines)], [202], bought=1),
        Case(
            f"Upgrade: {name}, then the body",
            "RFC 9110, 7.8",
            [buy(lines, body=""), "<body>"],
            [202],
            bought=1,
        ),
        Case(
            f"Upgrade: {name}, with chunks",
            "RFC 9110, 7.8",
            [buy(lines, "Transfer-Encoding: chunked\r\n", ""), "<chunks>"],
            [202],
            bought=1,
        ),
        Case(f"Upgrade: {name}, without a body", "RFC 9110, 7.8", [ME + lines + CRLF], [200]),
    )
] + [
    refused(
        "CONNECT",
        "RFC 9110, 9.3.6",
        "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + ME,
        by_nginx=[{400, 405}],
    ),
    refused(
        "the preface of HTTP/2",
        "RFC 9113, 3.4",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        by_nginx=[{400, 405}],
    ),
]

EXPECT = [
    Case(
        "Expect: 100-continue with the body",
        "RFC 9110, 10.1.1",
        [buy("Expect: 100-continue\r\n")],
        [202],
        bought=1,
    ),
    Case(
        "Expect: 100-continue, then the body",
        "RFC 9110, 10.1.1",
        [buy("Expect: 100-Continue\r\n", body=""), "<body>"],
        [202],
        bought=1,
    ),
]

PIPELINES = [
    Case("three purchases at once", "RFC 9112, 9.3.2", ["<buy>" * 3], [202] * 3, bought=3),
    Case(
        "one that waits between two",
        "RFC 9112, 9.3.2",
        [ME + CRLF + buy("Prefer: wait=20\r\n") + ME + CRLF],
        [200, 201, 200],
        bought=1,
    ),
    Case(
        "HEAD between two",
        "RFC 9110, 9.3.2",
        [ME + CRLF + ME.replace("GET", "HEAD") + CRLF + ME + CRLF],
        [200] * 3,
        methods=("GET", "HEAD", "GET"),
    ),
    Case(
        "another after Connection: close",
        "RFC 9112, 9.6",
        [ME + "Connection: close\r\n\r\n" + "<buy>"],
        [200],
        closes=True,
    ),
]

EARLY_ERRORS = [
    Case(
        f"a purchase, then {broken[:20]!r}",
        "RFC 9112, 9.3.2",
        sent,
        [202, 400],
        by_nginx=[202, {400, 414, 505}],
        closes=True,
        bought=1,
    )
    for broken in (
        "\0",
        "  ",
        "}",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/7.7\r\nHost: x\r\n\r\n",
        "X: y\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + "a" * 100_000,
    )
    for sent in (["<buy>" + broken], ["<buy>", broken])
] + [
    Case(
        "a refusal before the body is there",
        "RFC 9112, 9.6",
        [
            "POST /api/events/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Length: 60000\r\n\r\n" + "a" * 1_000
        ],
        [401],
        closes=True,
        by_nginx=(),
    ),
]

HALF_CLOSED = [
    Case("a purchase", "RFC 9112, 9.6", ["<buy>"], [202], (), True, True, bought=1),
    Case(
        "a purchase that waits",
        "RFC 9112, 9.6",
        [buy("Prefer: wait=20\r\n")],
        [201],
        (),
        True,
        True,
        bought=1,
    ),
    Case("three purchases", "RFC 9112, 9.6", ["<buy>" * 3], [202] * 3, (), True, True, bought=3),
    Case(
        "with a list behind the gateway",
        "RFC 9112, 9.6",
        ["GET /api/events/ HTTP/1.1\r\nHost: x\r\nAuthorization: <buyer>\r\n\r\n"],
        [200],
        (),
        True,
        True,
    ),
    Case("a body that is not whole", "RFC 9112, 8", [buy(body="{")], [], (), True, True),
    Case(
        "a whole one, and a part",
        "RFC 9112, 8",
        ["<buy>" + buy(body="{")],
        [202],
        (),
        True,
        True,
        bought=1,
    ),
]

TARGETS = [
    Case(
        "OPTIONS *",
        "RFC 9110, 9.3.7",
        ["OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"],
        [204],
        by_nginx=[{204, 400}],
    ),
    refused("GET *", "RFC 9112, 3.2.4", "GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("no slash", "RFC 9112, 3.2.1", "GET api/events/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("no version", "RFC 9112, 2.3", f"GET {OPEN}\r\n\r\n", by_nginx=()),
    refused(
        "HTTP/1.9",
        "RFC 9112, 2.3",
        f"GET {OPEN} HTTP/1.9\r\nHost: x\r\n\r\n",
        by_nginx=[{200, 400, 505}],
    ),
    refused(
        "HTTP/2.0",
        "RFC 9112, 2.3",
        f"GET {OPEN} HTTP/2.0\r\nHost: x\r\n\r\n",
        by_nginx=[{400, 505}],
    ),
    refused("an unknown method", "RFC 9110, 9.1", f"BREW {OPEN} HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("a method in lower case", "RFC 9110, 9.1", f"get {OPEN} HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case(
        "a method that no route has",
        "RFC 9110, 9.1",
        [f"PROPFIND {OPEN} HTTP/1.1\r\nHost: x\r\n\r\n"],
        [405],
    ),
    Case(
        "a long target",
        "RFC 9112, 3",
        ["GET /nothing/" + "a" * 7_000 + " HTTP/1.1\r\nHost: x\r\n\r\n"],
        [404],
    ),
    refused(
        "a target that is too long",
        "RFC 9112, 3",
        "GET /nothing/" + "a" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        by_nginx=[414],
    ),
    refused("too many headers", "RFC 9110, 5.4", ME + "X: y\r\n" * 1_000 + CRLF),
]

VALUES = [
    Case(
        "two spaces behind Bearer",
        "RFC 9110, 11.4",
        [ME.replace("<buyer>", "<two_spaces>") + CRLF],
        [200],
    ),
    Case(
        "a wait of any size", "RFC 7240, 4.3", [buy("Prefer: wait=9999999999\r\n")], [201], bought=1
    ),
    Case("the first wait", "RFC 7240, 2", [buy("Prefer: wait=0, wait=20\r\n")], [202], bought=1),
    Case("HTTP/1.0", "RFC 9112, 9.3", [ME.replace("/1.1", "/1.0") + CRLF], [200], closes=True),
]

CASES = {
    "white space": WHITE_SPACE,
    "repeated": REPEATED,
    "Host": HOST,
    "Transfer-Encoding": TRANSFER_ENCODING,
    "Upgrade": UPGRADE,
    "Expect": EXPECT,
    "pipelining": PIPELINES,
    "early errors": EARLY_ERRORS,
    "half-closed": HALF_CLOSED,
    "targets and methods": TARGETS,
    "values": VALUES,
}
