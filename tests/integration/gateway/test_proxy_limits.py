"""Limits of one user at the catalog proxy: requests, memory; and server errors."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.unread_responses import UnreadResponses
from shared.config.settings import Settings
from shared.errors import ClientLeft, Unavailable
from shared.free_port import free_port
from tests.support.gateways import authorization, running_app
from tests.support.servers import new_database
from tests.support.services import running_service
from tests.support.waiting import eventually

LARGE = b"x" * 6_500_000
PAGE = b"x" * 250_000
MEGABYTE = 2**20


class StandIn:
    """Answers in the catalog's place; `silent`: the answers to these paths wait until it is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        path: str = scope["path"]
        answer: Response = JSONResponse({"path": path})
        if path.startswith("/api/events/broken-"):
            status = int(path.strip("/").rpartition("-")[2])
            answer = PlainTextResponse("Internal Server Error", status, {"Retry-After": "7"})
        elif path == "/api/events/problem/":
            answer = JSONResponse(
                {"code": "server_error"}, 500, media_type="application/problem+json; charset=utf-8"
            )
        elif path == "/api/events/large/":
            answer = Response(LARGE)
        elif path == "/api/events/page/":
            answer = Response(PAGE)
        elif path == "/api/events/slow/":
            await asyncio.to_thread(self.go_on.wait, 30)
        await answer(scope, receive, send)


class GatewayUnderTest:
    """A gateway with the stand-in behind it."""

    def __init__(self, settings: Settings, pid: int, stand_in: StandIn) -> None:
        self.settings = settings
        self.process = psutil.Process(pid)
        self.stand_in = stand_in
        self._clients = ExitStack()

    def client(self, user_id: int) -> httpx.Client:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.gateway_port}",
            headers=authorization(self.settings, user_id),
            timeout=20,
        )
        return self._clients.enter_context(client)

    def ask_and_not_read(self, user_id: int, path: str) -> socket.socket:
        """Send a request whose answer nobody reads; the kernel keeps little of it."""
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.connect(("127.0.0.1", self.settings.gateway_port))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
        for name, value in authorization(self.settings, user_id).items():
            head += f"{name}: {value}\r\n"
        line.sendall(f"{head}\r\n".encode())
        return line

    def close(self) -> None:
        self._clients.close()


@contextmanager
def running_gateway_with_stand_in(
    database_url: str, keys_dir: Path, **changes: Any
) -> Iterator[GatewayUnderTest]:
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",  # buckets of its own
        keys_dir=keys_dir,
        gateway_port=free_port(),
        catalog_url=f"http://127.0.0.1:{free_port()}",
        **changes,
    )
    ready = f"http://127.0.0.1:{settings.gateway_port}/readyz"
    stand_in = StandIn()
    with (
        running_app(stand_in, settings.catalog_url),
        running_service("gateway", settings, ready) as process,
    ):
        gateway = GatewayUnderTest(settings, process.pid, stand_in)
        try:
            yield gateway
        finally:
            stand_in.go_on.set()
            gateway.close()


@pytest.fixture(scope="module")
def gateway(postgres_url: str, keys_dir: Path) -> Iterator[GatewayUnderTest]:
    with (
        new_database(postgres_url) as url,
        running_gateway_with_stand_in(
            url,
            keys_dir,
            catalog_write_rate_burst=3,
            catalog_write_rate_per_second=0.01,
            list_rate_burst=2,
            list_rate_per_second=0.01,
            catalog_user_requests_max=4,
            answer_timeout_seconds=5.0,
            unread_answers_max_bytes=2 * MEGABYTE,
        ) as gateway,
    ):
        yield gateway


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_error_of_a_server_is_a_problem_document(
    gateway: GatewayUnderTest, method: str, status: int
) -> None:
    answer = gateway.client(100 + status).request(method, f"/api/events/broken-{status}/")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert ("look whether it was done" in answer.json()["detail"]) == (method == "PATCH")


def test_a_problem_of_the_catalog_comes_through(gateway: GatewayUnderTest) -> None:
    answer = gateway.client(1).get("/api/events/problem/")
    assert (answer.status_code, answer.json()) == (500, {"code": "server_error"})


@pytest.mark.parametrize(
    ("user", "policy", "burst", "requests"),
    [
        (2, "catalog-writes", 3, [("POST", "/api/events/"), ("DELETE", "/api/ticket-types/1/")]),
        (3, "lists", 2, [("GET", "/api/events/?search=x"), ("GET", "/api/ticket-types/")]),
        (4, "lists", 2, [("GET", "/api/ticket-types/"), ("GET", "/api/ticket-purchases/")]),
    ],
)
def test_each_user_has_a_rate_limit(
    gateway: GatewayUnderTest, user: int, policy: str, burst: int, requests: list[tuple[str, str]]
) -> None:
    client = gateway.client(user)
    answers = [client.request(*requests[number % 2]) for number in range(burst + 2)]
    assert [answer.status_code == 429 for answer in answers] == [False] * burst + [True] * 2
    refused = answers[-1]
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["Retry-After"]) > 0
    for answer in answers:
        assert answer.headers["RateLimit"].startswith(f'"{policy}";r=')
        assert answer.headers["RateLimit-Policy"].startswith(f'"{policy}";q={burst};')
    # Rows are free, and so are other users.
    assert client.get("/api/events/1/").status_code == 200
    assert gateway.client(user + 50).request(*requests[0]).status_code == 200


def test_one_user_has_a_limit_of_requests_at_the_catalog(gateway: GatewayUnderTest) -> None:
    with ExitStack() as lines:
        for _ in range(40):
            lines.enter_context(gateway.ask_and_not_read(5, "/api/events/slow/"))
        refused = gateway.client(5).get("/api/events/1/")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert gateway.client(6).get("/api/events/1/").status_code == 200
        gateway.stand_in.go_on.set()
    eventually(lambda: _assert_answered(gateway.client(5), "/api/events/1/"))


@pytest.mark.parametrize("path", ["/api/events/page/", "/api/events/large/"])
def test_unread_answers_take_little_memory(gateway: GatewayUnderTest, path: str) -> None:
    reader = gateway.client(7)
    assert reader.get(path).status_code == 200
    before = gateway.process.memory_info().rss
    with ExitStack() as lines:
        for user in range(1_000, 1_010):
            for _ in range(10):
                lines.enter_context(gateway.ask_and_not_read(user, path))
            # Somebody who reads is served meanwhile.
            eventually(lambda: _assert_answered(reader, path))
        assert gateway.process.memory_info().rss - before < 40 * MEGABYTE


def _assert_answered(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


# --- the rule of what is held ---


async def never(_message: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.anyio
async def test_clients_that_do_not_read_are_disconnected_for_others() -> None:
    unread = UnreadResponses(max_bytes=800, timeout_seconds=30)
    loop = asyncio.get_running_loop()

    async def stand_still(user_id: int) -> None:
        with unread.hold(user_id, 100) as held:
            await unread.send(held, never, 200, [], b"x" * 100)

    stuck = [asyncio.create_task(stand_still(user)) for user in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refusal, unread.hold(9, 100):
        pass
    assert int(refusal.value.headers["Retry-After"]) > 0
    # A second later they are old enough.
    deadline = loop.time() + 20
    while loop.time() < deadline:
        try:
            with unread.hold(9, 101):
                break
        except Unavailable:
            await asyncio.sleep(0.02)
    done, _pending = await asyncio.wait(stuck, timeout=0.5)
    assert done == set(stuck[:2])
    for task in done:
        with pytest.raises(ClientLeft):
            task.result()
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    assert not unread._held
    assert not unread._bytes
    assert not unread._bytes_of_user


@pytest.mark.anyio
async def test_one_user_holds_a_part_and_a_first_answer_always() -> None:
    unread = UnreadResponses(max_bytes=800, timeout_seconds=30)
    with unread.hold(1, 300), unread.hold(2, 60), unread.hold(2, 40):
        for user in (1, 2):
            with pytest.raises(Unavailable), unread.hold(user, 1):
                pass
        with unread.hold(3, 1):
            pass


@pytest.mark.anyio
async def test_a_client_has_a_limit_of_time_to_read() -> None:
    unread = UnreadResponses(max_bytes=800, timeout_seconds=0.05)
    started = time.monotonic()
    with pytest.raises(ClientLeft), unread.hold(1, 100) as held:
        await unread.send(held, never, 200, [], b"x" * 100)
    assert time.monotonic() - started < 10
    assert not unread._held


@pytest.mark.anyio
async def test_a_stream_that_is_not_read_is_cut_off() -> None:
    unread = UnreadResponses(max_bytes=800, timeout_seconds=0.05)
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    await unread.send_part(1, keep, b"x" * 900)
    assert sent == [{"type": "http.response.body", "body": b"x" * 900, "more_body": True}]
    stuck = asyncio.create_task(unread.send_part(1, never, b"x" * 100))
    await asyncio.sleep(0)
    with pytest.raises(ClientLeft):  # its user has another that is not read
        await unread.send_part(1, keep, b"x")
    with pytest.raises(ClientLeft):
        await stuck
    assert not unread._held


@pytest.mark.anyio
async def test_an_answer_is_sent_whole_and_in_order() -> None:
    unread = UnreadResponses(max_bytes=800, timeout_seconds=30)
    content = bytes(range(256)) * 400
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    with unread.hold(1, len(content)) as held:
        await unread.send(held, keep, 200, [(b"etag", b'"a"')], content)
    start, *bodies = sent
    assert (start["status"], start["headers"]) == (200, [(b"etag", b'"a"')])
    assert b"".join(message["body"] for message in bodies) == content
    assert [message["more_body"] for message in bodies] == [True] * (len(bodies) - 1) + [False]
