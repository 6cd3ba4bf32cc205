"""A TCP line between the services and a server, which can be slow, cut, silent or one-way.

All lines run in one thread with an event loop of its own, so that they carry bytes between rounds
too. A change from another thread takes effect at once.
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import make_url

CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Weather:
    """`latency_seconds`: added to each chunk, each way. `there`, `back`: whether bytes reach the
    server, and its answers the client; else they wait for better weather. `is_cut`: open
    connections are reset, and new ones too.
    """

    latency_seconds: float = 0.0
    there: bool = True
    back: bool = True
    is_cut: bool = False


FAIR = Weather()


class Line:
    """Listens on a port of its own and hands on to `target_port` of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._weather = FAIR
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop
        self.port = 0
        # Connections reset, and chunks that were slowed down or held.
        self.harmed = 0

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def through(self, url: str) -> str:
        """The same database or queue, by way of this line."""
        return make_url(url).set(port=self.port).render_as_string(hide_password=False)

    def set_weather(self, weather: Weather) -> None:
        """From any other thread; when it returns, the weather is so."""
        asyncio.run_coroutine_threadsafe(self._set(weather), self._loop).result(timeout=30)

    async def _set(self, weather: Weather) -> None:
        self._weather = weather
        # Whoever waits for a change holds the old event.
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.is_cut:
            for writer in self._writers:
                self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self.harmed += 1
        writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.is_cut:
            self._reset(writer)
            return
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, to_server[1]}
        self._writers |= both
        # Cancelled only by `_close`; in 3.11 asyncio would print a traceback of it.
        with suppress(OSError, asyncio.CancelledError):
            pumps = (
                self._carry_there(reader, to_server[1], writer),
                self._carry(to_server[0], writer, there=False),
            )
            tasks = [asyncio.create_task(pump) for pump in pumps]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._writers -= both
        for each in both:
            each.close()

    async def _carry_there(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        _client: asyncio.StreamWriter,
    ) -> None:
        await self._carry(reader, writer, there=True)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._weather_allows(there=there)
            writer.write(chunk)
            await writer.drain()

    async def _weather_allows(self, *, there: bool) -> None:
        if self._weather.latency_seconds or not self._passes(there=there):
            self.harmed += 1
        await asyncio.sleep(self._weather.latency_seconds)
        while not self._passes(there=there):
            await self._changed.wait()

    def _passes(self, *, there: bool) -> bool:
        return self._weather.there if there else self._weather.back


@contextmanager
def carrying(*lines: Line) -> Iterator[None]:
    """Open the lines, and keep them open until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lines", daemon=True)
    thread.start()
    try:
        for line in lines:
            asyncio.run_coroutine_threadsafe(line.open(), loop).result(timeout=30)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close(lines), loop).result(timeout=30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(lines: Iterable[Line]) -> None:
    for line in lines:
        await line.close()
    # What was held back by bad weather is dropped.
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
