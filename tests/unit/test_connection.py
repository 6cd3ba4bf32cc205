"""A connection without a network: what it makes of bytes, and what it leaves behind."""

import asyncio
import gc

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from shared.asgi_extensions import WHOLE_BODY, client_leaves, send_whole
from shared.connection import Connection

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n"


class Limited(Connection):
    head_timeout_seconds = 10
    head_max_bytes = 65_536
    send_timeout_seconds = 10


class Wire(asyncio.Transport):
    """Takes what is written, and is never slow."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.written.append(b"closed")

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass


async def answer_whole(scope: Scope, receive: Receive, send: Send) -> None:
    scope["request_id"] = "test"
    client_leaves(scope, receive)
    body = scope["extensions"][WHOLE_BODY]
    length = (b"content-length", b"%d" % len(body))
    await send_whole(scope, send, 202, [length], body)


def connect() -> tuple[Connection, Wire]:
    config = uvicorn.Config(answer_whole, lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    connection = Limited(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


async def answered(connection: Connection, wire: Wire, request: bytes, answers: int = 1) -> bytes:
    wire.written.clear()
    connection.data_received(request)
    async with asyncio.timeout(10):
        while b"".join(wire.written).count(b"HTTP/1.1 ") < answers:
            await asyncio.sleep(0)
    return b"".join(wire.written)


def test_a_whole_answer_is_one_piece() -> None:
    async def story() -> None:
        connection, wire = connect()
        answer = await answered(connection, wire, REQUEST)
        assert len(wire.written) == 1
        assert answer.startswith(b"HTTP/1.1 202 Accepted\r\n")
        assert b"\r\nx-request-id: test\r\n" in answer
        assert answer.endswith(b"\r\n\r\n{}")

    asyncio.run(story())


def test_requests_sent_at_once_are_answered_each_in_its_turn() -> None:
    async def story() -> None:
        connection, wire = connect()
        answers = await answered(connection, wire, REQUEST + HEAD + REQUEST, answers=3)
        assert [part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 202")[1:]] == [
            b"{}",
            b"",
            b"{}",
        ]

    asyncio.run(story())


def test_an_answered_request_leaves_nothing_for_the_garbage_collector() -> None:
    async def story() -> None:
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

    asyncio.run(story())


@pytest.mark.parametrize("answer_first", [True, False], ids=["after its answer", "before it"])
def test_a_lost_connection_leaves_nothing_for_the_garbage_collector(answer_first: bool) -> None:
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

    async def story() -> None:
        await come_and_go()
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await come_and_go()
            assert gc.collect() < 100
        finally:
            gc.enable()

    asyncio.run(story())
