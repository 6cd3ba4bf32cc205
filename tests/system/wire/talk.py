"""A whole conversation on one connection, byte for byte."""

import socket
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from tests.support.wire import TIMEOUT_SECONDS, Answer


def talk(url: str, packets: Iterable[bytes], *, half_closes: bool = False) -> bytes:
    """Send these packets, and read until the other side closes."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            line.sendall(packet)
        if half_closes:
            line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65_536), b""))


def replies(data: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """The final answers in these bytes, to requests of these methods (GET where none is given)."""
    return list(_replies(data, [*methods]))


def _replies(data: bytes, methods: list[str]) -> Iterator[Answer]:
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status = status_line.split(" ")[:2]
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        if status.startswith("1"):
            continue
        method = methods.pop(0) if methods else "GET"
        if method == "HEAD" or status in ("204", "304"):
            body = b""
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body, data = data[:length], data[length:]
            assert len(body) == length
        elif headers.get("transfer-encoding") == "chunked":
            body, data = _chunks(data)
        else:
            body, data = data, b""
        yield Answer(int(status), headers, body)


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if length == 0:
            return body, data
