"""What the way to the catalog gives one user: requests, places, memory; and errors of a server."""

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
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from deploy.local.servers.embedded import free_port
from gateway.unread_responses import UnreadAnswers
from shared.auth.keys import load_signing_key
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.errors import ClientLeft, Unavailable
from tests.conftest import new_database
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


@contextmanager
def running_stand_in(port: int) -> Iterator[StandIn]:
    stand_in = StandIn()
    server = uvicorn.Server(
        uvicorn.Config(stand_in, port=port, lifespan="off", ws="none", log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        url = f"http://127.0.0.1:{port}/"
        eventually(lambda: httpx.get(url), retry_on=httpx.TransportError)
        yield stand_in
    finally:
        stand_in.go_on.set()
        server.should_exit = True
        thread.join()


class Door:
    """A gateway with the stand-in behind it."""

    def __init__(self, settings: Settings, pid: int, stand_in: StandIn) -> None:
        self.settings = settings
        self.process = psutil.Process(pid)
        self.stand_in = stand_in
        self._key = load_signing_key(settings.keys_dir)
        self._clients = ExitStack()

    def headers(self, user_id: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {mint(self.settings, self._key, user_id, 'access')}"}

    def client(self, user_id: int) -> httpx.Client:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.gateway_port}",
            headers=self.headers(user_id),
            timeout=20,
        )
        return self._clients.enter_context(client)

    def ask_and_not_read(self, user_id: int, path: str) -> socket.socket:
        """Send a request whose answer nobody reads; the kernel keeps little of it."""
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.connect(("127.0.0.1", self.settings.gateway_port))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
        for name, value in self.headers(user_id).items():
            head += f"{name}: {value}\r\n"
        line.sendall(f"{head}\r\n".encode())
        return line

    def close(self) -> None:
        self._clients.close()


@contextmanager
def running_door(database_url: str, keys_dir: Path, **changes: Any) -> Iterator[Door]:
    catalog_port = free_port()
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",  # buckets of its own
        keys_dir=keys_dir,
        gateway_port=free_port(),
        catalog_url=f"http://127.0.0.1:{catalog_port}",
        **changes,
    )
    ready = f"http://127.0.0.1:{settings.gateway_port}/readyz"
    with (
        running_stand_in(catalog_port) as stand_in,
        running_service("gateway", settings, ready) as process,
    ):
        door = Door(settings, process.pid, stand_in)
        try:
            yield door
        finally:
            door.close()


@pytest.fixture(scope="module")
def door(postgres_url: str, keys_dir: Path) -> Iterator[Door]:
    with (
        new_database(postgres_url) as url,
        running_door(
            url,
            keys_dir,
            catalog_write_rate_burst=3,
            catalog_write_rate_per_second=0.01,
            list_rate_burst=2,
            list_rate_per_second=0.01,
            catalog_user_requests_max=4,
            answer_timeout_seconds=5.0,
            unread_answers_max_bytes=2 * MEGABYTE,
        ) as door,
    ):
        yield door


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_error_of_a_server_is_a_problem_document(door: Door, method: str, status: int) -> None:
    answer = door.client(100 + status).request(method, f"/api/events/broken-{status}/")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert ("look whether it was done" in answer.json()["detail"]) == (method == "PATCH")


def test_a_problem_of_the_catalog_comes_through(door: Door) -> None:
    answer = door.client(1).get("/api/events/problem/")
    assert (answer.status_code, answer.json()) == (500, {"code": "server_error"})


@pytest.mark.parametrize(
    ("user", "policy", "burst", "requests"),
    [
        (2, "catalog-writes", 3, [("POST", "/api/events/"), ("DELETE", "/api/ticket-types/1/")]),
        (3, "lists", 2, [("GET", "/api/events/?search=x"), ("GET", "/api/ticket-types/")]),
        (4, "lists", 2, [("GET", "/api/ticket-types/"), ("GET", "/api/ticket-purchases/")]),
    ],
)
def test_one_user_asks_so_often_and_others_are_free(
    door: Door, user: int, policy: str, burst: int, requests: list[tuple[str, str]]
) -> None:
    client = door.client(user)
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
    assert door.client(user + 50).request(*requests[0]).status_code == 200


def test_one_user_takes_only_some_of_the_places_at_the_catalog(door: Door) -> None:
    with ExitStack() as lines:
        for _ in range(40):
            lines.enter_context(door.ask_and_not_read(5, "/api/events/slow/"))
        refused = door.client(5).get("/api/events/1/")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert door.client(6).get("/api/events/1/").status_code == 200
        door.stand_in.go_on.set()
    eventually(lambda: _assert_answered(door.client(5), "/api/events/1/"))


@pytest.mark.parametrize("path", ["/api/events/page/", "/api/events/large/"])
def test_answers_that_nobody_reads_take_little_memory(door: Door, path: str) -> None:
    reader = door.client(7)
    assert reader.get(path).status_code == 200
    before = door.process.memory_info().rss
    with ExitStack() as lines:
        for user in range(1_000, 1_010):
            for _ in range(10):
                lines.enter_context(door.ask_and_not_read(user, path))
            # Somebody who reads is served meanwhile.
            eventually(lambda: _assert_answered(reader, path))
        assert door.process.memory_info().rss - before < 40 * MEGABYTE


def _assert_answered(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


# --- the rule of what is held ---


async def never(_message: Any) -> None:
    await asyncio.Event().wait()


def test_who_does_not_read_is_cut_off_for_others() -> None:
    async def scenario() -> None:
        unread = UnreadAnswers(max_bytes=800, timeout_seconds=30)
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

    asyncio.run(scenario())


def test_one_user_holds_a_part_and_a_first_answer_always() -> None:
    async def scenario() -> None:
        unread = UnreadAnswers(max_bytes=800, timeout_seconds=30)
        with unread.hold(1, 300), unread.hold(2, 60), unread.hold(2, 40):
            for user in (1, 2):
                with pytest.raises(Unavailable), unread.hold(user, 1):
                    pass
            with unread.hold(3, 1):
                pass

    asyncio.run(scenario())


def test_a_client_has_so_long_to_read() -> None:
    async def scenario() -> None:
        unread = UnreadAnswers(max_bytes=800, timeout_seconds=0.05)
        started = time.monotonic()
        with pytest.raises(ClientLeft), unread.hold(1, 100) as held:
            await unread.send(held, never, 200, [], b"x" * 100)
        assert time.monotonic() - started < 10
        assert not unread._held

    asyncio.run(scenario())


def test_an_answer_is_sent_whole_and_in_order() -> None:
    async def scenario() -> None:
        unread = UnreadAnswers(max_bytes=800, timeout_seconds=30)
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

    asyncio.run(scenario())
