"""A connection without a network: what it makes of bytes, and what it leaves behind."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from shared.web.asgi_extensions import WHOLE_BODY, ClientLeaves, client_leaves, send_whole
from shared.web.http_protocol import PIPELINED_MAX_BYTES, Connection
from shared.web.request_head import HEADERS_MAX

pytestmark = pytest.mark.anyio

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n"
GET = b"GET /%b HTTP/1.1\r\nHost: here\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n%b"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
# Of the event loop. An application here has answered a packet after three.
ANSWERED_TURNS = 5


class Limited(Connection):
    header_timeout_seconds = 10
    head_max_bytes = 65_536
    send_timeout_seconds = 10
    idle_max = 2


class Wire(asyncio.Transport):
    """Takes what is written, and is never slow."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = self.is_half_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_over
        self.written.append(bytes(data))

    def write_eof(self) -> None:
        self.is_half_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    @property
    def is_over(self) -> bool:
        """Whether no other answer can come."""
        return self.is_closed or self.is_half_closed

    @property
    def answers(self) -> list[bytes]:
        """Each from its status on."""
        return b"".join(self.written).split(b"HTTP/1.1 ")[1:]

    @property
    def statuses(self) -> list[int]:
        return [int(answer[:3]) for answer in self.answers]


async def answer_whole(scope: Scope, receive: Receive, send: Send) -> None:
    scope["request_id"] = "test"
    client_leaves(scope, receive)
    body = scope["extensions"][WHOLE_BODY]
    length = (b"content-length", b"%d" % len(body))
    await send_whole(scope, send, 202, [length], body)


async def answer_in_parts(scope: Scope, receive: Receive, send: Send) -> None:
    """As a stream does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"one", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def answer_unread(scope: Scope, receive: Receive, send: Send) -> None:
    """As to somebody who is not signed in."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class Recorder:
    """An application that remembers whole requests, and answers each when it may."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        else:
            return
        self.seen.append((scope["method"], scope["path"], body))
        self.headers.append(dict(scope["headers"]))
        await self.may_answer.wait()
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def connect(app: ASGIApp = answer_whole) -> tuple[Connection, Wire]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    connection = Limited(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


async def answered(connection: Connection, wire: Wire, request: bytes, answers: int = 1) -> bytes:
    wire.written.clear()
    connection.data_received(request)
    async with asyncio.timeout(10):
        while len(wire.answers) < answers:
            await asyncio.sleep(0)
    return b"".join(wire.written)


async def settled(turns: int = 50) -> None:
    """Each task that can go on has done so."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def converse(app: ASGIApp, *packets: bytes) -> Wire:
    """Send these packets, one after another, to an application behind a connection."""
    connection, wire = connect(app)
    for packet in packets:
        connection.data_received(packet)
        await settled(ANSWERED_TURNS)
    await settled()
    connection.connection_lost(None)
    return wire


def splits(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """The same bytes in one packet, in two at every place, and one by one."""
    yield (data,)
    for at in range(1, len(data)):
        yield data[:at], data[at:]
    yield tuple(data[at : at + 1] for at in range(len(data)))


# --- answers ---


async def test_a_whole_response_is_one_write() -> None:
    connection, wire = connect()
    answer = await answered(connection, wire, REQUEST)
    assert len(wire.written) == 1
    assert answer.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"\r\nx-request-id: test\r\n" in answer
    assert answer.endswith(b"\r\n\r\n{}")


async def test_pipelined_requests_are_answered_in_order() -> None:
    connection, wire = connect()
    answers = await answered(connection, wire, REQUEST + HEAD + REQUEST, answers=3)
    assert [part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 202")[1:]] == [
        b"{}",
        b"",
        b"{}",
    ]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_response_without_length_is_chunked_only_in_http_1_1(version: bytes) -> None:
    request = b"GET / HTTP/%b\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" % version
    wire = await converse(answer_in_parts, request)
    head, _, body = wire.answers[0].partition(b"\r\n\r\n")
    if version == b"1.1":
        assert b"transfer-encoding: chunked" in head
        assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    else:
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == b"onetwo"
        assert wire.is_closed


@pytest.mark.parametrize("expects", [True, False])
async def test_a_response_before_an_expected_body_closes_the_connection(
    expects: bool,
) -> None:
    expect = b"Expect: 100-continue\r\n" if expects else b""
    head = b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: 2\r\n\r\n" % expect
    connection, wire = connect(answer_unread)
    await answered(connection, wire, head)
    assert wire.statuses == [401]
    assert (b"connection: close" in wire.answers[0]) == wire.is_half_closed == expects
    # What is sent all the same is no request.
    connection.data_received(b"{}" + GET % b"")
    await settled()
    assert wire.statuses == [401] if expects else [401, 401]
    connection.connection_lost(None)


# --- the bytes of a body are never a request ---

SMUGGLED = GET % b"smuggled"


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade\r\nUpgrade: foo\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAA\r\n",
        b"upgrade: websocket\r\nCONNECTION: keep-alive, upgrade\r\n",
        b"Connection: close, Upgrade\r\nUpgrade: foo\r\n",
        b"Upgrade: foo\r\n",
        b"Connection: Upgrade\r\n",
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
async def test_upgrade_is_ignored_however_the_packets_are_cut(upgrade: bytes, framing: str) -> None:
    body = {"length": SMUGGLED, "chunked": SMUGGLED, "none": b""}[framing]
    rest = {
        "length": LENGTH % (len(SMUGGLED), SMUGGLED),
        "chunked": CHUNKED + b"%x\r\n%b\r\n0\r\nX: trailer\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        "none": b"\r\n",
    }[framing]
    request = b"POST /first HTTP/1.1\r\nHost: x\r\n" + upgrade + rest

    for packets in splits(request + GET % b"next"):
        app = Recorder()
        wire = await converse(app, *packets)
        expected = [("POST", "/first", body), ("GET", "/next", b"")]
        if b"close" in upgrade:
            del expected[1]
        assert app.seen == expected, packets
        assert wire.statuses == [200] * len(expected)


async def test_one_upgrade_may_follow_another() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: foo\r\n"
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + upgrade + LENGTH % (len(SMUGGLED), SMUGGLED)

    app = Recorder()
    wire = await converse(app, request * 20)
    assert app.seen == [("POST", "/", SMUGGLED)] * 20
    assert wire.statuses == [200] * 20


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n",
        b"CONNECT /api/ HTTP/1.1\r\nHost: x\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"POST / HTTP/2.0\r\nHost: x\r\n",
        b"POST /\r\n",
        b"POST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A:\r\n" * 1_000,
    ],
)
async def test_nothing_is_read_after_an_invalid_head(head: bytes) -> None:
    request = head + LENGTH % (len(SMUGGLED), SMUGGLED) + SMUGGLED

    cuts = splits(request) if len(request) < 300 else [(request,), (request[:600], request[600:])]
    for packets in cuts:
        app = Recorder()
        wire = await converse(app, *packets)
        assert (app.seen, wire.statuses) == ([], [400]), packets
        assert b"application/problem+json" in wire.answers[0]
        assert b"connection: close" in wire.answers[0]
        assert wire.is_over


async def test_trailers_are_not_headers() -> None:
    trailers = b"Idempotency-Key: b\r\nHost: evil\r\nAuthorization: Bearer x\r\n"
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n"

    for packets in splits(request):
        app = Recorder()
        await converse(app, *packets)
        assert app.seen == [("POST", "/", b"{}")]
        assert app.headers == [{b"host": b"x", b"transfer-encoding": b"chunked"}]


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: foo\r\n"], ids=repr)
async def test_many_trailers_are_no_error_of_an_accepted_request(upgrade: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + upgrade + CHUNKED
    request = head + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * (HEADERS_MAX + 1) + b"\r\n"

    for packets in ((request,), (request[:-20], request[-20:])):
        app = Recorder()
        app.may_answer.clear()
        connection, wire = connect(app)
        for packet in packets:
            connection.data_received(packet)
            await settled()
        assert (app.seen, wire.statuses) == ([("POST", "/", b"{}")], [])
        app.may_answer.set()
        await settled()
        assert wire.statuses == [200]
        connection.connection_lost(None)


async def test_white_space_around_a_value_is_not_part_of_it() -> None:
    app = Recorder()
    lines = b"Host: \t x \t \r\nPrefer:\t\twait=1\t\r\nX:  \t\r\nY:a \t b\r\nZ:z \r\n"
    await converse(app, b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
    assert app.headers == [
        {b"host": b"x", b"prefer": b"wait=1", b"x": b"", b"y": b"a \t b", b"z": b"z"}
    ]


# --- an error is answered after the requests before it ---

BROKEN = [
    b"\0",
    b"  ",
    b"}",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000,
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"zz\r\n",
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: repr(broken[:30]))
@pytest.mark.parametrize("whole", [0, 1, 3])
@pytest.mark.parametrize("in_one_packet", [True, False])
async def test_an_error_follows_the_responses_to_earlier_requests(
    broken: bytes, whole: int, in_one_packet: bool
) -> None:
    app = Recorder()
    app.may_answer.clear()
    connection, wire = connect(app)
    for packet in [REQUEST * whole + broken] if in_one_packet else [*[REQUEST] * whole, broken]:
        connection.data_received(packet)
        await settled()
    if whole:
        assert wire.statuses == []
    app.may_answer.set()
    await settled()
    assert wire.statuses == [200] * whole + [400]
    assert app.seen == [("POST", "/", b"{}")] * whole
    assert wire.is_over
    connection.connection_lost(None)


async def test_a_client_that_is_answered_already_gets_no_other_answer_to_a_broken_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED
    wire = await converse(answer_unread, head, b"zz\r\n")
    assert wire.statuses == [401]
    assert wire.is_over


async def test_bytes_after_the_last_request_are_ignored() -> None:
    app = Recorder()
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for rest in (GET % b"more", b"\0", b"GET /more HTTP/1.1\r\n"):
        wire = await converse(app, last + rest)
        assert wire.statuses == [200]
        assert wire.is_closed
    assert {path for _, path, _ in app.seen} == {"/last"}


# --- half-closed ---


async def test_a_client_that_sends_no_more_gets_all_its_answers() -> None:
    for rest, statuses in (
        (b"", [200] * 3),
        (REQUEST[:-1], [200] * 3),
        (b"\0", [200] * 3 + [400]),
    ):
        app = Recorder()
        app.may_answer.clear()
        connection, wire = connect(app)
        connection.data_received(REQUEST * 3 + rest)
        await settled()
        assert connection.eof_received()
        app.may_answer.set()
        await settled()
        assert wire.statuses == statuses
        assert wire.is_closed
        connection.connection_lost(None)


@pytest.mark.parametrize("sent", [b"", REQUEST[:-1], REQUEST[:20], b"\r\n"])
async def test_a_client_that_leaves_in_the_middle_is_not_waited_for(sent: bytes) -> None:
    connection, wire = connect(Recorder())
    if sent:
        connection.data_received(sent)
    await settled()
    assert not connection.eof_received()
    assert wire.written == []
    connection.connection_lost(None)


# --- bounds ---


async def test_pipelined_requests_are_bounded_in_bytes() -> None:
    app = Recorder()
    app.may_answer.clear()
    connection, wire = connect(app)
    for _ in range(5):
        connection.data_received(GET % b"" * 10_000)
    await settled()
    assert len(app.seen) == 1
    kept_bytes = PIPELINED_MAX_BYTES + Limited.head_max_bytes
    assert len(connection._unparsed) == kept_bytes
    app.may_answer.set()
    async with asyncio.timeout(30):
        while not wire.is_over:
            await asyncio.sleep(0)
    # What was kept is answered, and then the connection closes.
    assert len(wire.answers) == 1 + kept_bytes // len(GET % b"")
    connection.connection_lost(None)


async def test_of_idle_connections_the_oldest_is_closed_when_there_are_too_many() -> None:
    opened = [connect() for _ in range(Limited.idle_max + 1)]
    for connection, wire in opened:
        await answered(connection, wire, REQUEST)
    assert [wire.is_closed for _, wire in opened] == [True, False, False]
    # One that is used is not idle.
    connection, wire = connect()
    await answered(*opened[1], REQUEST)
    await answered(connection, wire, REQUEST)
    assert [wire.is_closed for _, wire in opened] == [True, False, True]
    for used, _ in [*opened, (connection, wire)]:
        used.connection_lost(None)
    assert not Connection._idle


async def test_a_request_leaves_no_garbage() -> None:
    connection, wire = connect()
    await answered(connection, wire, REQUEST)
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await answered(connection, wire, REQUEST)
        assert gc.collect() < 100
    finally:
        gc.enable()
    connection.connection_lost(None)


@pytest.mark.parametrize("answer_first", [True, False], ids=["after its answer", "before it"])
async def test_a_lost_connection_leaves_no_garbage(
    answer_first: bool,
) -> None:
    async def come_and_go() -> None:
        connection, wire = connect()
        if answer_first:
            await answered(connection, wire, REQUEST)
            connection.connection_lost(None)
        else:
            connection.data_received(REQUEST)
            connection.connection_lost(None)
            await asyncio.sleep(0)  # the application is at work
            await asyncio.sleep(0)

    await come_and_go()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await come_and_go()
        assert gc.collect() < 100
    finally:
        gc.enable()


# --- clients that wait ---

WAITING_MAX_BYTES = 6_500


class Waits:
    """An application that waits, until it may answer, for its clients to disconnect."""

    def __init__(self) -> None:
        self.asked: list[ClientLeaves] = []
        self.left: list[asyncio.Future[None]] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaves = client_leaves(scope, receive)
        self.asked.append(leaves)
        self.left.append(leaves())
        await self.may_answer.wait()
        await answer_whole(scope, receive, send)


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize(
    "second",
    [REQUEST, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"no HTTP\r\n\r\n"],
    ids=["another", "the last", "no HTTP"],
)
async def test_a_client_that_has_waited_may_send_another_request(
    second: bytes, pipelined: bool
) -> None:
    app = Waits()
    connection, wire = connect(app)
    connection.data_received(REQUEST)
    await settled()
    assert len(app.left) == 1
    if pipelined:
        connection.data_received(second)
    app.may_answer.set()
    await settled()
    if not pipelined:
        connection.data_received(second)
        await settled()
    assert wire.statuses == [202, 400 if second.startswith(b"no") else 202]
    connection.connection_lost(None)


async def test_an_application_hears_of_a_client_that_has_left() -> None:
    app = Waits()
    connection, _ = connect(app)
    connection.data_received(REQUEST)
    await settled()
    assert not app.left[0].done()
    connection.connection_lost(None)
    assert app.left[0].done()
    app.may_answer.set()
    await settled()


async def test_an_application_that_asks_late_hears_of_it_as_well() -> None:
    asked: list[ClientLeaves] = []

    async def remember(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(client_leaves(scope, receive))
        await receive()
        await receive()

    connection, _ = connect(remember)
    connection.data_received(REQUEST)
    await settled()
    connection.connection_lost(None)
    assert asked[0]().done()
    await settled()


async def test_a_client_that_waits_takes_little_memory() -> None:
    app, clients = Waits(), 200
    state, config = ServerState(), uvicorn.Config(app, lifespan="off", log_config=None)
    connections = []

    async def wait() -> None:
        for _ in range(clients):
            connection = Limited(config=config, server_state=state, app_state={})
            connection.connection_made(Wire())
            connection.data_received(REQUEST)
            connections.append(connection)
        await settled()

    await wait()  # what all have in common
    tracemalloc.start()
    try:
        await wait()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    app.may_answer.set()
    await settled()
    for connection in connections:
        connection.connection_lost(None)
    assert taken / clients < WAITING_MAX_BYTES
