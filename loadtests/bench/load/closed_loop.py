"""A closed loop: each connection sends its next request as soon as it has its answer.

It finds what a server can do at most. What a client waits at a given rate, the open loop tells.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import cast

from loadtests.bench.load.answers import AnswerReader
from loadtests.bench.load.requests import Load
from loadtests.bench.load.tally import Run, Tally

# A server that says nothing for so long is stuck, and the run is over.
SILENCE_SECONDS = 60.0


class _Round:
    """What the connections of one run share."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, connections: int) -> None:
        self.requests = requests
        self.tally = tally
        self.ends_at = float("inf")
        self._working = connections
        self.over = asyncio.get_running_loop().create_future()

    def one_is_done(self) -> None:
        self._working -= 1
        if self._working == 0 and not self.over.done():
            self.over.set_result(None)


class _Buyer(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, shared: _Round) -> None:
        self._shared = shared
        self._reader = AnswerReader()
        self._sent_at = 0.0
        self._is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self, now: float) -> None:
        request = next(self._shared.requests, None) if now < self._shared.ends_at else None
        if request is None:
            self._done()
            self._transport.close()
        else:
            self._sent_at = now
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for answer in self._reader.feed(data):
            now = time.monotonic()
            self._shared.tally.answer(answer, now - self._sent_at)
            self.send_next(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_done:
            self._shared.tally.error("connection lost", str(exc or "closed by the server"))
            self._done()

    def _done(self) -> None:
        self._is_done = True
        self._shared.one_is_done()


async def closed_loop(port: int, load: Load, connections: int, seconds: float) -> Run:
    """Send for so many seconds, or until the load is at its end; then wait for what is under way.

    Raises:
        OSError: the server cannot be reached.
        TimeoutError: it does not answer any more.
    """
    loop = asyncio.get_running_loop()
    tally = Tally(load.expected)
    shared = _Round(load.requests(), tally, connections)
    buyers = []
    for _ in range(connections):
        _transport, buyer = await loop.create_connection(lambda: _Buyer(shared), "127.0.0.1", port)
        buyers.append(buyer)
    cpu_began = time.process_time()
    began_at = time.monotonic()
    shared.ends_at = began_at + seconds
    for buyer in buyers:
        buyer.send_next(time.monotonic())
    await asyncio.wait_for(shared.over, seconds + SILENCE_SECONDS)
    return tally.run(began_at, time.monotonic() - began_at, time.process_time() - cpu_began)
