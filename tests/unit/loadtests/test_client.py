"""A buyer's connection, against a small real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.answers import ClientResponse
from loadtests.client import ClientConnection, ResponseReader

pytestmark = pytest.mark.anyio
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
# Far longer than anything here takes: what hangs fails.
LIMIT_SECONDS = 10.0


@asynccontextmanager
async def connected_to(handler: Handler) -> AsyncIterator[ClientConnection]:
    """A connection to a server that serves each of its connections with `handler`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the buyer has left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = ClientConnection(f"http://127.0.0.1:{port}")
    async with server, asyncio.timeout(LIMIT_SECONDS):
        try:
            yield connection
        finally:
            connection.close()


async def read_path(reader: asyncio.StreamReader) -> str:
    """The path of the next request, which has no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b" ")[1].decode()


def write_answer(writer: asyncio.StreamWriter, body: str, *headers: str) -> None:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    writer.write("\r\n".join([*lines, "", body]).encode())


async def get(
    connection: ClientConnection, path: str, timeout_seconds: float = 60.0
) -> ClientResponse:
    return await connection.request("GET", path, token="t", timeout_seconds=timeout_seconds)


async def has_lost(connection: ClientConnection) -> None:
    """Wait until the client has seen that the server closed."""
    while connection.is_open:
        await asyncio.sleep(0)


class Echo:
    """Answers each request with its path; those for /slow only when it may."""

    def __init__(self) -> None:
        self.connections = 0
        self.slow_arrived = asyncio.Event()
        self.slow_may_go = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            path = await read_path(reader)
            if path == "/slow":
                self.slow_arrived.set()
                await self.slow_may_go.wait()
            write_answer(writer, path)


async def test_requests_share_one_connection() -> None:
    echo = Echo()
    async with connected_to(echo) as connection:
        answers = [await get(connection, path) for path in ("/a", "/b")]
    assert [answer.body for answer in answers] == [b"/a", b"/b"]
    assert echo.connections == 1


async def test_the_answer_of_a_cancelled_request_is_not_the_next_ones() -> None:
    echo = Echo()
    async with connected_to(echo) as connection:
        cancelled = asyncio.create_task(get(connection, "/slow"))
        await echo.slow_arrived.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        echo.slow_may_go.set()
        assert (await get(connection, "/next")).body == b"/next"


async def test_the_answer_of_a_request_that_took_too_long_is_not_the_next_ones() -> None:
    echo = Echo()
    async with connected_to(echo) as connection:
        with pytest.raises(TimeoutError):
            await get(connection, "/slow", timeout_seconds=0.01)
        echo.slow_may_go.set()
        assert (await get(connection, "/next")).body == b"/next"


async def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    async def one_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write_answer(writer, await read_path(reader))

    async with connected_to(one_request) as connection:
        for path in ("/a", "/b"):
            assert (await get(connection, path)).body == path.encode()
            await has_lost(connection)


async def test_a_connection_that_the_server_says_it_closes_is_not_used_again() -> None:
    async def last_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write_answer(writer, await read_path(reader), "Connection: close")
        await reader.read()  # until the client closes: a request sent here would get no answer

    async with connected_to(last_answer) as connection:
        for path in ("/a", "/b"):
            assert (await get(connection, path)).body == path.encode()


async def test_a_connection_lost_before_the_answer_is_an_error_and_the_next_request_works() -> None:
    echo = Echo()

    async def lost_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if echo.connections == 0:
            echo.connections += 1
            await read_path(reader)
        else:
            await echo(reader, writer)

    async with connected_to(lost_at_first) as connection:
        with pytest.raises(ConnectionResetError):
            await get(connection, "/lost")
        assert (await get(connection, "/next")).body == b"/next"


class Answers(ResponseReader):
    """Keeps what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[ClientResponse] = []
        self.errors: list[Exception] = []

    def answered(self, answer: ClientResponse) -> None:
        self.read.append(answer)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


BODIES = st.binary(max_size=40) | st.just(b"\r\n\r\nContent-Length: 7\r\n\r\n")
ANSWERS = st.lists(
    st.builds(ClientResponse, st.sampled_from([200, 202, 400, 503]), body=BODIES), max_size=5
)


@given(ANSWERS, st.lists(st.integers(0, 10_000), max_size=8))
def test_the_same_answers_are_read_wherever_they_are_cut(
    sent: list[ClientResponse], places: list[int]
) -> None:
    data = b"".join(
        b"HTTP/1.1 %d Reason\r\nContent-Length: %d\r\n\r\n%b" % (a.status, len(a.body), a.body)
        for a in sent
    )
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    answers = Answers()
    for start, end in pairwise(ends):
        answers.data_received(data[start:end])
    assert answers.read == sent
    assert answers.errors == []


def test_bytes_that_are_no_http_are_an_error() -> None:
    answers = Answers()
    answers.data_received(b"SSH-2.0-OpenSSH_9.6\r\n")
    assert [type(error) for error in answers.errors] == [ConnectionError]
