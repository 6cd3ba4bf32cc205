"""A connection that sends any bytes, valid HTTP or not."""

import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import msgspec

# Far longer than any response takes.
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """A response. `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def is_problem(self) -> bool:
        return (
            self.headers.get("content-type") == "application/problem+json"
            and bool(self.headers.get("x-request-id"))
            and self.json()["status"] == self.status
        )


class Wire:
    """One connection at a time, opened when it is needed and again when the server has closed."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._address = (url.hostname, url.port)
        self._line: socket.socket | None = None

    def request(
        self,
        method: str,
        target: str | bytes,
        headers: Iterable[str | bytes] = (),
        body: bytes | None = None,
    ) -> Answer:
        """Send a request whose target and header lines are as given.

        `Host` is added where it is not among them, and the body's length where there is a body.
        """
        lines = [f"{method} ".encode() + _bytes(target) + b" HTTP/1.1"]
        lines += [_bytes(line) for line in headers]
        if not any(line.startswith(b"Host:") for line in lines):
            lines.append(b"Host: tickets.example")
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        return self.say(b"\r\n".join([*lines, b"", body or b""]), method)

    def say(self, request: bytes, method: str = "GET") -> Answer:
        """Send these bytes, and read the answer to a request of that method."""
        self.open().sendall(request)
        return self.answer(method)

    def open(self) -> socket.socket:
        """The connection itself."""
        if self._line is None:
            self._line = socket.create_connection(self._address, timeout=TIMEOUT_SECONDS)
        return self._line

    def answer(self, method: str = "GET") -> Answer:
        """The next answer on this connection."""
        assert self._line is not None
        with closing(HTTPResponse(self._line, method=method)) as response:
            response.begin()
            body = response.read()
            if response.will_close:
                self.close()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, body)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
