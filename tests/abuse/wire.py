"""The attacker's side of the wire: raw bytes on many connections, at a bounded rate.

Runs in the attacker's process only, and imports nothing of the product.
"""

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
# A connection whose server does not answer is given up after this, and counted.
ANSWER_SECONDS = 40.0
# Between two tries to open a connection that the server refuses or closes at once.
REOPEN_SECONDS = 0.05
# Small, so that what is not read stays in the server and not in the kernel.
UNREAD_RECEIVE_BYTES = 4_096
LARGEST_HEAD_BYTES = 1 << 20
# Counts requests of an attack that reads no answers.
SENT = "sent"


class Got(msgspec.Struct, frozen=True):
    """What an attack got. `counts`: by status, or by a word for what is no answer."""

    seconds: float
    cpu_seconds: float
    connections: int
    counts: dict[str, int]

    @property
    def requests_per_second(self) -> float:
        """Those that were answered, or sent by who reads no answers."""
        counted = sum(n for label, n in self.counts.items() if label.isdigit() or label == SENT)
        return counted / self.seconds


class Pace:
    """At most so many turns a second over all connections, evenly spaced."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = time.monotonic()

    async def turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now - 5 * self._interval) + self._interval
        if (early := self._next - self._interval - now) > 0:
            await asyncio.sleep(early)


class Line:
    """One connection, with as much of an HTTP client as an attacker needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def send_all(self, data: bytes) -> None:
        """Returns when the kernel has taken all of it."""
        self._writer.write(data)
        await self._writer.drain()

    async def status(self) -> int:
        """The status of the next answer, whose body is read and dropped.

        Raises:
            EOFError: the server closed the connection.
        """
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = CONTENT_LENGTH.search(head)
        if length is not None and status not in (204, 304):
            await self._reader.readexactly(int(length[1]))
        return status

    async def ask(self, request: bytes) -> int:
        self.send(request)
        return await self.status()

    async def closed(self) -> None:
        """Wait until the server closes, whatever it says before."""
        while await self._reader.read(65_536):
            pass

    def abort(self) -> None:
        self._writer.transport.abort()


Talk = Callable[[Line], Awaitable[None]]


class Attacker:
    """Opens connections from addresses of its own and counts what comes back.

    Args:
        target: where the gateway is, and what is known of it.
        source: the attacker's first address; `addresses` of a loop are those after it.
    """

    def __init__(self, target: "Target", source: str) -> None:
        self.target = target
        self.counts: Counter[str] = Counter()
        self.connections = 0
        self._source = source

    async def loop(
        self,
        connections: int,
        request: Callable[[int], bytes],
        *,
        per_second: float,
        addresses: int = 1,
    ) -> None:
        """A closed loop on each connection: a request, its answer, the next one.

        Args:
            connections: open at the same time.
            request: gives the bytes of the n-th request.
            per_second: the most requests, all connections together.
            addresses: how many the connections come from.
        """
        pace, numbers = Pace(per_second), iter(range(1 << 62))

        async def talk(line: Line) -> None:
            while True:
                await pace.turn()
                async with asyncio.timeout(ANSWER_SECONDS):
                    self.counts[str(await line.ask(request(next(numbers))))] += 1

        await self.each(connections, talk, addresses=addresses)

    async def each(
        self,
        connections: int,
        talk: Talk,
        *,
        reads: bool = True,
        addresses: int = 1,
    ) -> None:
        """Do something on each of so many connections, again when the server closes one.

        Args:
            connections: open at the same time.
            talk: a coroutine function; what it raises of the network is counted.
            reads: whether answers are to be read; if not, receive buffers are small.
            addresses: how many the connections come from.
        """
        self.connections = connections
        sources = [_after(self._source, number) for number in range(addresses)]
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                source = sources[number % addresses]
                group.create_task(self._keep_talking(talk, source, reads=reads))

    async def _keep_talking(self, talk: Talk, source: str, *, reads: bool) -> None:
        while True:
            line = None
            try:
                line = await self._open(source, reads=reads)
                await talk(line)
            except TimeoutError:
                self.counts["no answer"] += 1
            except (OSError, EOFError):
                self.counts["closed"] += 1
            finally:
                if line is not None:
                    line.abort()
            await asyncio.sleep(REOPEN_SECONDS)

    async def _open(self, source: str, *, reads: bool) -> Line:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if not reads:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_RECEIVE_BYTES)
            connection.bind((source, 0))
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, (self.target.host, self.target.port))
            reader, writer = await asyncio.open_connection(
                sock=connection, limit=LARGEST_HEAD_BYTES
            )
        except BaseException:
            connection.close()
            raise
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        return Line(reader, writer)


class Target(msgspec.Struct, frozen=True):
    """What an attacker knows of the system.

    `tokens`: of users of his own. `ticket_type`: on sale, of somebody else. `own_ticket_type`: of
    his own event. `queued`: purchases that stay queued, one of each of his first users. `refresh`:
    refresh tokens of his own.
    """

    host: str
    port: int
    tokens: Sequence[str]
    event: int
    ticket_type: int
    own_ticket_type: int = 0
    queued: Sequence[str] = ()
    refresh: Sequence[str] = ()

    def token(self, number: int) -> str:
        return self.tokens[number % len(self.tokens)]


def request(
    method: str, path: str, *, token: str = "", body: bytes | None = None, headers: str = ""
) -> bytes:
    """The bytes of a request; `headers` are whole lines with their ends."""
    lines = f"{method} {path} HTTP/1.1\r\nHost: tickets.example\r\n{headers}"
    if token:
        lines += f"Authorization: Bearer {token}\r\n"
    if body is not None:
        lines += f"Content-Length: {len(body)}\r\n"
    return lines.encode("latin-1") + b"\r\n" + (body or b"")


Attack = Callable[[Attacker], Awaitable[None]]


async def run_for(seconds: float, attacker: Attacker, attack: Attack) -> Got:
    """Let an attack run for so long."""
    began_at, cpu_began = time.monotonic(), time.process_time()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await attack(attacker)
    return Got(
        seconds=time.monotonic() - began_at,
        cpu_seconds=time.process_time() - cpu_began,
        connections=attacker.connections,
        counts=dict(attacker.counts.most_common()),
    )


def _after(address: str, number: int) -> str:
    packed = int.from_bytes(socket.inet_aton(address), "big") + number
    return socket.inet_ntoa(packed.to_bytes(4, "big"))
