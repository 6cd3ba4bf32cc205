"""The system as its clients reach it: connections that are kept, and streams."""

import asyncio
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from loadtests.answers import ClientResponse, Meaning
from loadtests.client import ClientConnection, ResponseReader
from loadtests.soak.load.tally import LoadTally

# Of which a connection is not kept after its answer.
LEAVE_EVERY = 10


class Api:
    """Requests of many clients; what is not expected of an answer is noted."""

    def __init__(self, port: int, tally: LoadTally) -> None:
        self.port = port
        self._base_url = f"http://127.0.0.1:{port}"
        self._tally = tally
        self._free: list[ClientConnection] = []
        self._asked = 0

    async def ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        expected: Collection[int] = (200,),
    ) -> ClientResponse:
        """An answer; answers with Retry-After are counted, and others noted as errors.

        Raises:
            OSError: no connection, twice.
            TimeoutError: no answer.
        """
        answer = await self._ask_again_if_lost(method, path, token, body, headers)
        if answer.status not in expected:
            if answer.meaning is Meaning.RETRY_LATER:
                problem = answer.read()
                code = problem.code if problem is not None else None
                self._tally.count(f"{answer.status} {code}")
            else:
                self._tally.error(f"{what}: {answer.status}", answer.body.decode(errors="replace"))
        return answer

    async def _ask_again_if_lost(
        self, method: str, path: str, token: str, body: bytes, headers: Mapping[str, str] | None
    ) -> ClientResponse:
        """Once more on a new connection: one that was free may just have been closed."""
        self._asked += 1
        kept = bool(self._free)
        connection = self._free.pop() if kept else ClientConnection(self._base_url)
        try:
            answer = await connection.request(method, path, token=token, headers=headers, body=body)
        except ConnectionError:
            if not kept:
                raise
            self._tally.count("connections lost")
            connection = ClientConnection(self._base_url)
            answer = await connection.request(method, path, token=token, headers=headers, body=body)
        if self._asked % LEAVE_EVERY == 0:
            connection.close()
        else:
            self._free.append(connection)
        return answer

    async def stream(self, what: str, path: str, token: str, until: bytes, seconds: float) -> bool:
        """Open an event stream, and close it once `until` has come.

        Returns:
            Whether it has come; else the stream was refused, or ended without it.

        Raises:
            OSError: no connection.
            TimeoutError: neither in this time.
        """
        loop = asyncio.get_running_loop()
        _transport, stream = await loop.create_connection(
            lambda: _Stream(until), "127.0.0.1", self.port
        )
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
        )
        assert stream.transport is not None
        stream.transport.write(request.encode())
        try:
            async with asyncio.timeout(seconds):
                status = await stream.over
        finally:
            stream.close()
        if status in (429, 503):
            self._tally.count(f"{status} of a stream")
        elif status not in (200, 204):
            self._tally.error(f"{what}: {status}", "")
        return status == 200 and stream.has_come

    def close(self) -> None:
        for connection in self._free:
            connection.close()


class _Stream(ResponseReader):
    """`over`: the status, once the mark `has_come`, or the end."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark, self._tail, self.has_come = mark, b"", False
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_body(self, part: bytes) -> None:
        self._tail = self._tail[-len(self._mark) :] + part
        if self._mark in self._tail:
            self.has_come = True
            self._end(self._parser.get_status_code())

    def answered(self, answer: ClientResponse) -> None:
        self._end(answer.status)

    def failed(self, error: Exception) -> None:
        self._end(0)

    def _end(self, status: int) -> None:
        if not self.over.done():
            self.over.set_result(status)


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
