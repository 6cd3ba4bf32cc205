"""How a load is sent: as fast as answers come (closed loop), or at fixed moments (open loop).

A closed loop finds the most that a server can do: each connection sends its next request when it
has its answer. An open loop finds how long a client waits at a given rate: requests are sent at
moments that were fixed beforehand, and each latency runs from that moment, so that a request that
had to wait for a connection, or for the generator itself, counts with that wait (no coordinated
omission).
"""

import asyncio
import gc
import math
import random
import time
from collections import deque
from collections.abc import Callable

import uvloop

from loadtests.answers import ClientResponse
from loadtests.bench.load.requests import Load
from loadtests.bench.load.tally import LoadRun, Tally
from loadtests.client import ResponseReader
from shared.web.server import raise_open_files_limit

# Without an answer for this long, the server is stuck: as long as a gateway may take, and more.
STALL_TIMEOUT_SECONDS = 60.0
# Of an open loop. All are opened before the first request; one that finds none free waits for one.
OPEN_LOOP_CONNECTIONS = 400


def intended_moments(per_second: float, seconds: float, seed: int) -> list[float]:
    """When independent buyers come (a Poisson process), in seconds from 0 on."""
    chance = random.Random(seed)  # noqa: S311 - a rush, not a secret
    moments = []
    moment = chance.expovariate(per_second)
    while moment < seconds:
        moments.append(moment)
        moment += chance.expovariate(per_second)
    return moments


class _Connection(ResponseReader):
    """One keep-alive connection with at most one request under way."""

    def __init__(
        self, tally: Tally, then: Callable[["_Connection"], None], lost: Callable[[], None]
    ) -> None:
        super().__init__()
        self._tally, self._then, self._lost = tally, then, lost
        self._since: float | None = None
        self._sent_at = 0.0

    def send(self, request: bytes, since: float) -> None:
        self._since, self._sent_at = since, time.monotonic()
        assert self.transport is not None
        if self.transport.is_closing():
            self.failed(ConnectionResetError("closed by the server"))
        else:
            self.transport.write(request)

    def answered(self, answer: ClientResponse) -> None:
        assert self._since is not None, "an answer without a request"
        self._tally.answer(answer, self._since, self._sent_at)
        self._since = None
        self._then(self)

    def failed(self, error: Exception) -> None:
        if self._since is not None:
            self._since = None
            self._tally.error("connection lost", str(error))
            self._lost()


class _Loop:
    """One run over several connections, until `missing` parts of it are done."""

    def __init__(self, load: Load, missing: int, slow_seconds: float = math.inf) -> None:
        self.requests = load.requests()
        self._tally = Tally(load.expected, slow_seconds)
        self._missing = missing
        self._over = asyncio.Event()

    async def connect(
        self, port: int, count: int, then: Callable[[_Connection], None]
    ) -> list[_Connection]:
        loop = asyncio.get_running_loop()
        pairs = [
            await loop.create_connection(
                lambda: _Connection(self._tally, then, self.one_done), "127.0.0.1", port
            )
            for _ in range(count)
        ]
        self._cpu_began, self.began_at = time.process_time(), time.monotonic()
        return [connection for _transport, connection in pairs]

    def one_done(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._over.set()

    async def run(self, within_seconds: float) -> LoadRun:
        """The result, once everything is done.

        Raises:
            TimeoutError: the server does not answer any more.
        """
        await asyncio.wait_for(self._over.wait(), within_seconds)
        seconds = time.monotonic() - self.began_at
        return self._tally.run(self.began_at, seconds, time.process_time() - self._cpu_began)


async def closed_loop(port: int, load: Load, connections: int, seconds: float) -> LoadRun:
    """Send for `seconds`, or until the load is at its end; then wait for what is under way.

    Raises:
        OSError: the server cannot be reached.
        TimeoutError: it does not answer any more.
    """
    loop, ends_at = _Loop(load, missing=connections), float("inf")

    def send_next(connection: _Connection) -> None:
        now = time.monotonic()
        request = next(loop.requests, None) if now < ends_at else None
        if request is None:
            connection.close()
            loop.one_done()
        else:
            connection.send(request, now)

    buyers = await loop.connect(port, connections, send_next)
    ends_at = loop.began_at + seconds
    for buyer in buyers:
        send_next(buyer)
    return await loop.run(seconds + STALL_TIMEOUT_SECONDS)


async def open_loop(
    port: int, load: Load, moments: list[float], slow_seconds: float = math.inf
) -> LoadRun:
    """Send a request at each of these moments (seconds from the start); wait for all answers.

    The event loop's timers have a millisecond; what that makes late, counts as latency too.

    Raises:
        OSError: the server cannot be reached.
        TimeoutError: it does not answer any more.
    """
    loop = _Loop(load, len(moments), slow_seconds)
    waiting: deque[float] = deque()

    def send_waiting(connection: _Connection) -> None:
        if waiting:
            connection.send(next(loop.requests), waiting.popleft())
        else:
            free.append(connection)
        loop.one_done()

    connections = await loop.connect(port, OPEN_LOOP_CONNECTIONS, send_waiting)
    free = deque(connections)
    for moment in moments:
        intended_at = loop.began_at + moment
        if (early := intended_at - time.monotonic()) > 0:
            await asyncio.sleep(early)
        if free:
            free.popleft().send(next(loop.requests), intended_at)
        else:
            waiting.append(intended_at)
    run = await loop.run(STALL_TIMEOUT_SECONDS)
    for connection in connections:
        connection.close()
    return run


def prepare_generator() -> None:
    """In the process that runs the loops, which shares no Python with what it measures."""
    raise_open_files_limit()
    # It makes no cycles, and to search a hundred thousand prebuilt objects costs milliseconds.
    gc.disable()


def run_closed_loop(port: int, load: Load, connections: int, seconds: float) -> LoadRun:
    return uvloop.run(closed_loop(port, load, connections, seconds))


def run_open_loop(
    port: int, load: Load, moments: list[float], slow_seconds: float = math.inf
) -> LoadRun:
    return uvloop.run(open_loop(port, load, moments, slow_seconds))
