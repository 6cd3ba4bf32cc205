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

from loadtests.answers import ClientResponse


class ResponseReader(asyncio.Protocol):
    """The client's end of one connection; a subclass says what happens with each answer.

    A subclass that wants headers has an `on_header`; httptools skips it where there is none.
    """

    transport: asyncio.Transport | None = None

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.on_message_begin()

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def answered(self, answer: ClientResponse) -> None:
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """No further answer comes on this connection."""
        raise NotImplementedError

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.failed(ConnectionError(str(error)))
            self.close()

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        body = b"".join(self._parts)
        self.answered(ClientResponse(self._parser.get_status_code(), self._headers, body))


class _Exchange(ResponseReader):
    """Hands each answer to the one who waits for it."""

    _waiting: asyncio.Future[ClientResponse] | None = None

    def send(self, request: bytes) -> asyncio.Future[ClientResponse]:
        if not self.is_open:
            raise ConnectionResetError("the connection is closed")
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def answered(self, answer: ClientResponse) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def failed(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class ClientConnection:
    """One buyer's keep-alive connection, opened at its first request and again when it was lost."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or "127.0.0.1"
        self._port = url.port or 80
        self._exchange: _Exchange | None = None

    @property
    def is_open(self) -> bool:
        return self._exchange is not None and self._exchange.is_open

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_seconds: float = 60.0,
    ) -> ClientResponse:
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
                if not self.is_open or self._exchange is None:
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
