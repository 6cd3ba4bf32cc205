"""Receivers of webhooks, all in one process: a path is a receiver.

`python -m loadtests.baselines.receivers PORT`. Those below `/hang` never answer. The others answer
204 and look at no more of a body than its numbers; those below `/failing` answer 503 for a third of
each minute. `GET /` is what each has received, as JSON;
`GET /end` ends every request that hangs. They have what is left of the cores by others.
"""

import asyncio
import os
import re
import signal
import sys
import time
from typing import cast

import httptools
import msgspec
import uvloop

from shared.web.server import listening_socket

NUMBER = b'"number":'
FIRST = re.compile(NUMBER + rb"(\d+)")
HANG, FAILING = "/hang", "/failing"
FAILS_SECONDS, OF_SECONDS = 20, 60
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
BACKLOG = 4_096
NICENESS = 19


class Received(msgspec.Struct):
    """Of one receiver. `gaps`: deliveries that did not go on where the last one ended.

    `at`: of the last delivery, on the clock that all processes of a machine share.
    """

    deliveries: int = 0
    size: int = 0
    gaps: int = 0
    first: int | None = None
    last: int = 0
    at: float = 0.0

    def add(self, body: bytes) -> None:
        self.deliveries += 1
        self.size += len(body)
        self.at = time.monotonic()
        found = FIRST.search(body)
        if found is None:
            return
        first, count = int(found[1]), body.count(NUMBER)
        if self.first is None:
            self.first, self.last = first, first - 1
        newest = FIRST.match(body, body.rindex(NUMBER))
        assert newest is not None
        self.gaps += first != self.last + 1 or int(newest[1]) != self.last + count
        self.last = int(newest[1])


class Receivers:
    def __init__(self) -> None:
        self.received: dict[str, Received] = {}
        self.hanging: set[asyncio.Transport] = set()

    def abort_hanging(self) -> None:
        for transport in list(self.hanging):
            transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._receivers.hanging.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path, self._parts = url.decode(), list[bytes]()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        received = self._receivers.received
        if self._path in ("/", "/end"):
            body = msgspec.json.encode(received)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            self._transport.write(body)
            if self._path == "/end":
                self._receivers.abort_hanging()
        elif self._path.startswith(HANG):
            self._receivers.hanging.add(self._transport)
        elif self._path.startswith(FAILING) and time.monotonic() % OF_SECONDS < FAILS_SECONDS:
            self._transport.write(FAILURE)
        else:
            received.setdefault(self._path, Received()).add(b"".join(self._parts))
            self._transport.write(ANSWER)


async def serve_receivers(port: int) -> None:
    receivers = Receivers()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    with listening_socket("127.0.0.1", port, BACKLOG, shares_port=True) as listener:
        server = await loop.create_server(lambda: _Connection(receivers), sock=listener)
        await stopped.wait()
        server.close()


if __name__ == "__main__":
    os.nice(NICENESS)
    uvloop.run(serve_receivers(int(sys.argv[1])))
