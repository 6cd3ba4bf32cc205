"""An open loop: requests are sent at moments that were fixed beforehand, whatever the server does.

Each latency runs from the intended moment, so that a request that had to wait for a connection, or
for the generator itself, counts with that wait (no coordinated omission).
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator
from typing import cast

from loadtests.bench.load.answers import AnswerReader
from loadtests.bench.load.requests import Load
from loadtests.bench.load.tally import Run, Tally

# Ready before the first request; more are opened never, and whoever finds none free waits for one.
CONNECTIONS = 400
# After the last request was sent: as long as a gateway may take over an answer, and more.
ANSWERS_SECONDS = 60.0


def intended_moments(per_second: float, seconds: float, seed: int) -> list[float]:
    """When buyers come who know nothing of one another (a Poisson process), from 0 on."""
    chance = random.Random(seed)  # noqa: S311 - a rush, not a secret
    moments = []
    moment = chance.expovariate(per_second)
    while moment < seconds:
        moments.append(moment)
        moment += chance.expovariate(per_second)
    return moments


class _Sender:
    """Hands requests to free connections, in the order of their moments."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, count: int) -> None:
        self.tally = tally
        self.free: deque[_Line] = deque()
        self.over = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._waiting: deque[float] = deque()
        self._missing = count

    def send(self, intended_at: float) -> None:
        if self.free:
            self.free.popleft().send(next(self._requests), intended_at)
        else:
            self._waiting.append(intended_at)

    def answered(self, line: "_Line") -> None:
        if self._waiting:
            line.send(next(self._requests), self._waiting.popleft())
        else:
            self.free.append(line)
        self.one_is_over()

    def one_is_over(self) -> None:
        self._missing -= 1
        if self._missing == 0 and not self.over.done():
            self.over.set_result(None)


class _Line(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._reader = AnswerReader()
        self._intended_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, intended_at: float) -> None:
        self._intended_at = intended_at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for answer in self._reader.feed(data):
            assert self._intended_at is not None, "an answer that nobody asked for"
            self._sender.tally.answer(answer, time.monotonic() - self._intended_at)
            self._intended_at = None
            self._sender.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._intended_at is not None:
            self._sender.tally.error("connection lost", str(exc or "closed by the server"))
            self._sender.one_is_over()

    def close(self) -> None:
        self._transport.close()


async def open_loop(port: int, load: Load, moments: list[float]) -> Run:
    """Send a request at each of these moments (seconds from the start); wait for all answers.

    The event loop's timers have a millisecond; what that makes late, counts as latency too.

    Raises:
        OSError: the server cannot be reached.
        TimeoutError: it does not answer any more.
    """
    loop = asyncio.get_running_loop()
    tally = Tally(load.expected)
    sender = _Sender(load.requests(), tally, len(moments))
    lines = []
    for _ in range(CONNECTIONS):
        _transport, line = await loop.create_connection(lambda: _Line(sender), "127.0.0.1", port)
        lines.append(line)
    sender.free.extend(lines)
    cpu_began = time.process_time()
    began_at = time.monotonic()
    for moment in moments:
        if (early := began_at + moment - time.monotonic()) > 0:
            await asyncio.sleep(early)
        sender.send(began_at + moment)
    await asyncio.wait_for(sender.over, ANSWERS_SECONDS)
    seconds, cpu_seconds = time.monotonic() - began_at, time.process_time() - cpu_began
    for line in lines:
        line.close()
    return tally.run(began_at, seconds, cpu_seconds)
