"""Clients that send slowly, endlessly or not at all, against real processes with short limits."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.servers import new_database
from tests.support.services import running_service
from tests.support.waiting import eventually
from tests.support.wire import Wire

LIMIT_SECONDS = 0.5
HEAD_MAX_BYTES = 10_000
# Longer than a new connection may say nothing.
KEEP_ALIVE_SECONDS = 3
# A client that keeps sending gets its answer long before this.
TRICKLE_SECONDS = 20 * LIMIT_SECONDS
BODY = b'{"ticket_type": 1, "quantity": 1, "title": "x", "username": "x", "password": "x"}'
ROUTES = {
    "lean": "/api/ticket-purchases/",
    "FastAPI": "/api/token/",
    "catalog proxy": "/api/events/",
    "catalog": "/api/events/",
}


@pytest.fixture(scope="module")
def settings(postgres_url: str, keys_dir: Path) -> Iterator[Settings]:
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            keys_dir=keys_dir,
            gateway_port=free_port(),
            catalog_port=free_port(),
            body_timeout_seconds=LIMIT_SECONDS,
            header_timeout_seconds=LIMIT_SECONDS,
            head_max_bytes=HEAD_MAX_BYTES,
            send_timeout_seconds=LIMIT_SECONDS,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
        )


@pytest.fixture(scope="module")
def urls(settings: Settings) -> Iterator[dict[str, str]]:
    gateway = f"http://127.0.0.1:{settings.gateway_port}"
    catalog = f"http://127.0.0.1:{settings.catalog_port}"
    with_catalog = settings.model_copy(update={"catalog_url": catalog})
    with (
        running_service("catalog", settings, f"{catalog}/readyz"),
        running_service("gateway", with_catalog, f"{gateway}/readyz"),
    ):
        yield {name: catalog if name == "catalog" else gateway for name in ROUTES}


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[tuple[Wire, str]]:
    """One route of each kind, and a connection to its server."""
    with closing(Wire(urls[request.param])) as wire:
        yield wire, ROUTES[request.param]


@pytest.fixture
def gateway(urls: dict[str, str]) -> Iterator[Wire]:
    with closing(Wire(urls["lean"])) as wire:
        yield wire


@pytest.fixture(scope="module")
def authorization(settings: Settings, signing_key: SigningKey) -> bytes:
    return b"Authorization: Bearer " + mint(settings, signing_key, 1, "access").encode()


def trickle(line: socket.socket, piece: Callable[[int], bytes]) -> None:
    """Send piece after piece, slowly, for as long as anybody takes it."""
    until = time.monotonic() + TRICKLE_SECONDS
    number = 0
    try:
        while time.monotonic() < until:
            line.sendall(piece(number))
            number += 1
            time.sleep(LIMIT_SECONDS / 20)
    except OSError:
        pass  # they have closed, as they should


def is_closed(line: socket.socket) -> bool:
    try:
        while line.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("how", ["never", "byte by byte", "in chunks without end"])
def test_a_slow_body_is_a_408(route: tuple[Wire, str], authorization: bytes, how: str) -> None:
    wire, path = route
    pieces: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
        "never": (b"Content-Length: 50", lambda _n: b""),
        "byte by byte": (b"Content-Length: 10000", lambda _n: b" "),
        "in chunks without end": (b"Transfer-Encoding: chunked", lambda _n: b"1\r\n \r\n"),
    }
    length, piece = pieces[how]
    line = wire.open()
    line.sendall(
        b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b\r\n\r\n" % (path.encode(), authorization, length)
    )
    sender = threading.Thread(target=trickle, args=(line, piece))
    sender.start()
    asked_at = time.monotonic()
    answer = wire.answer("POST")
    took_seconds = time.monotonic() - asked_at
    sender.join()
    assert (answer.status, answer.json()["code"]) == (408, "body_too_slow")
    assert answer.is_problem
    assert answer.headers["connection"] == "close"
    assert LIMIT_SECONDS * 0.9 < took_seconds < TRICKLE_SECONDS / 2


def test_a_body_in_pieces_is_read_when_it_comes_in_time(
    route: tuple[Wire, str], authorization: bytes
) -> None:
    wire, path = route
    line = wire.open()
    head = (
        b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    for _ in range(2):
        line.sendall(head % (path.encode(), authorization, len(BODY)))
        # The server asks for the body only when it wants it.
        assert line.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for at in range(0, len(BODY), 20):
            line.sendall(BODY[at : at + 20])
        answer = wire.answer("POST")
        assert answer.status in (400, 401)  # there is no such row; the body was understood
        assert answer.json()["code"] != "malformed_body"


def test_a_body_whose_length_is_too_large_is_not_asked_for(
    route: tuple[Wire, str], authorization: bytes
) -> None:
    wire, path = route
    wire.open().sendall(
        b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/json\r\nContent-Length: 10000000\r\n\r\n"
        % (path.encode(), authorization)
    )
    answer = wire.answer("POST")
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n"],
    ids=["nothing", "half a line", "half a header", "an empty line"],
)
def test_a_connection_without_a_request_is_closed(gateway: Wire, sent: bytes) -> None:
    line = gateway.open()
    line.sendall(sent)
    begun_at = time.monotonic()
    assert is_closed(line)
    assert LIMIT_SECONDS * 0.9 < time.monotonic() - begun_at < TRICKLE_SECONDS / 2


@pytest.mark.parametrize(
    "first",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["at once", "after a good one"],
)
def test_a_slow_head_closes_the_connection(gateway: Wire, first: bytes) -> None:
    line = gateway.open()
    if first:
        assert gateway.say(first).status == 200
    begun_at = time.monotonic()
    line.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    trickle(line, lambda _n: b"a")
    assert time.monotonic() - begun_at < TRICKLE_SECONDS / 2


def test_a_body_after_the_response_is_not_read_forever(gateway: Wire) -> None:
    line = gateway.open()
    error = gateway.say(
        b"POST /api/ticket-purchases/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    )
    assert error.status == 401
    begun_at = time.monotonic()
    trickle(line, lambda _n: b" ")
    assert time.monotonic() - begun_at < TRICKLE_SECONDS / 2


@pytest.mark.parametrize("begins", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_cut_off(gateway: Wire, begins: bytes) -> None:
    line = gateway.open()
    line.sendall(begins)
    more = b"a" * 1_000 if not begins.endswith(b"\r\n") else b"X: " + b"a" * 995 + b"\r\n"
    for _ in range(HEAD_MAX_BYTES // len(more) + 1):
        line.sendall(more)
    error = gateway.answer()
    assert (error.status, error.is_problem) == (400, True)
    assert error.headers["x-request-id"]


@pytest.mark.parametrize("is_signed_in", [True, False])
def test_trailers_without_end_are_cut_off(
    gateway: Wire, authorization: bytes, is_signed_in: bool
) -> None:
    line = gateway.open()
    head = b"POST /api/ticket-purchases/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    line.sendall(head + (authorization + b"\r\n" if is_signed_in else b"") + b"\r\n0\r\nX: ")
    if not is_signed_in:
        assert gateway.answer("POST").status == 401
    line.sendall(b"a" * (HEAD_MAX_BYTES + 1))
    if is_signed_in:
        assert gateway.answer("POST").status == 400
    else:
        # This request has its answer.
        assert line.recv(1) == b""


@pytest.mark.parametrize("sent", [b"\0", b"GET / HTTP/1.1\r\nHost: x\r\nX: "], ids=repr)
def test_a_client_that_keeps_sending_can_read_the_error(gateway: Wire, sent: bytes) -> None:
    """A connection closed at once would be reset, and the answer lost with it."""
    line = gateway.open()
    line.sendall(sent + b"a" * 1_000_000)
    assert gateway.answer().status == 400


def test_a_client_that_reads_no_responses_is_disconnected(gateway: Wire) -> None:
    line = gateway.open()
    line.settimeout(LIMIT_SECONDS)

    def is_cut_off() -> None:
        with pytest.raises(ConnectionError):
            line.sendall(b"GET /api/schema/ HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)

    eventually(is_cut_off, retry_on=(TimeoutError, pytest.fail.Exception))


def test_a_connection_may_be_used_for_longer_than_one_request_may_take(gateway: Wire) -> None:
    line = gateway.open()
    until = time.monotonic() + 2 * LIMIT_SECONDS
    while time.monotonic() < until:
        assert gateway.request("GET", "/healthz").status == 200
        time.sleep(LIMIT_SECONDS / 5)
    assert gateway.open() is line


def test_a_connection_idles_between_two_requests_for_as_long_as_the_setting_says(
    urls: dict[str, str],
) -> None:
    for url in (urls["lean"], urls["catalog"]):
        with closing(Wire(url)) as wire:
            line = wire.open()
            assert wire.request("GET", "/healthz").status == 200
            idle_since = time.monotonic()
            came, _, _ = select.select([line], [], [], KEEP_ALIVE_SECONDS / 2)
            assert not came
            assert is_closed(line)
            assert time.monotonic() - idle_since > KEEP_ALIVE_SECONDS * 0.9
