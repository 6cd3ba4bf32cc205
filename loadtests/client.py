"""A buyer's connection: HTTP/1.1 with as little as a load generator can do with.

A general client costs more for each new connection than the gateway does for the whole purchase
(aiohttp: 1.1 ms of CPU for a buyer of its own connection; this: 0.2 ms), so that it would measure
itself. Parsing is httptools', as in the server.
"""

import asyncio
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec


class Answer(msgspec.Struct, frozen=True):
    """What came back. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Exchange(asyncio.Protocol):
    """Collects one answer at a time; what it is told by httptools, it keeps."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self.answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.answer is not None and not self.answer.done():
                self.answer.set_exception(ConnectionError(str(error)))
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        answer = Answer(self._parser.get_status_code(), self._headers, self._body)
        if not self._parser.should_keep_alive():
            self.close()
        self._begin()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(answer)


class Connection:
    """One buyer's keep-alive connection, opened at its first request and again when it was lost."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or "127.0.0.1"
        self._port = url.port or 80
        self._exchange: _Exchange | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_seconds: float = 60.0,
    ) -> Answer:
        """Send one request and wait for its answer. Only one may be under way.

        Raises:
            OSError: no connection, or it was lost before the answer.
            TimeoutError: no answer in time; the connection is closed.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"Authorization: Bearer {token}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            async with asyncio.timeout(timeout_seconds):
                if self._exchange is None or not self._exchange.is_open:
                    loop = asyncio.get_running_loop()
                    _transport, self._exchange = await loop.create_connection(
                        _Exchange, self._host, self._port
                    )
                return await self._exchange.send(request)
        except BaseException:
            # Also when cancelled: the answer may still come, and would be taken for the next one's.
            self.close()
            raise

    def close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None
