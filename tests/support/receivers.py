"""A receiver of webhooks: a real HTTP server that keeps what comes, and answers as a test wants."""

import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.http_servers import Quiet, serving


class Request(NamedTuple):
    """What came to a path. `at`: of the monotonic clock, when it was read."""

    path: str
    id: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def numbers(self) -> list[int]:
        return [entry["number"] for entry in self.content["data"].get("entries", [])]


# Answers the nth request to a path (from 1).
Respond = Callable[[BaseHTTPRequestHandler, int], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler, _nth: int) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def raw(response: bytes) -> Respond:
    def respond(handler: BaseHTTPRequestHandler, _nth: int) -> None:
        handler.wfile.write(response)
        handler.close_connection = True

    return respond


OK = answer(200)


def at_first(first: Respond, times: int = 1, then: Respond = OK) -> Respond:
    def respond(handler: BaseHTTPRequestHandler, nth: int) -> None:
        (first if nth <= times else then)(handler, nth)

    return respond


def hang(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    """Until the client leaves."""
    handler.rfile.read(1)


def close(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    """A status line whose end never comes."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Drip: " + b"x" * 1_000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def endless_informational(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000)


def early_hints(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    """Some informational responses before the one that counts."""
    handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3)
    OK(handler, 1)


def endless_body(handler: BaseHTTPRequestHandler, _nth: int) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65_536)


def self_signed(folder: Path) -> tuple[str, str]:
    """Files of a certificate of 127.0.0.1, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = str(folder / "certificate.pem"), str(folder / "key.pem")
    Path(files[0]).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path(files[1]).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


class _Server(ThreadingHTTPServer):
    # Hundreds connect at once; beyond its five, the kernel would let each wait for seconds.
    request_queue_size = 1_024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that is killed resets its connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """`respond`: by path; others are answered 200."""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.requests: list[Request] = []
        self.respond: dict[str, Respond] = {}
        self.in_flight: dict[str, int] = {}
        self.most_in_flight: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.port: int = self._server.server_address[1]
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def of(self, path: str) -> list[Request]:
        with self._lock:
            return [each for each in self.requests if each.path == path]

    def numbers(self, path: str) -> list[int]:
        """Of all entries that came, in the order in which they came."""
        return [number for each in self.of(path) for number in each.numbers]

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        with serving(self._server):
            yield self

    def received(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        path = handler.path
        with self._lock:
            request = Request(path, headers["webhook-id"], headers, body, time.monotonic())
            self.requests.append(request)
            nth = sum(each.path == path for each in self.requests)
            self.in_flight[path] = self.in_flight.get(path, 0) + 1
            self.most_in_flight[path] = max(self.in_flight[path], self.most_in_flight.get(path, 0))
        try:
            with suppress(ConnectionError, ssl.SSLError):
                self.respond.get(path, OK)(handler, nth)
        finally:
            with self._lock:
                self.in_flight[path] -= 1


def _handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that vanished must not keep a thread for good.
        timeout = 30

        def do_POST(self) -> None:
            receiver.received(self)

        def do_GET(self) -> None:
            receiver.requests.append(Request(self.path, "", {}, b"", time.monotonic()))
            self.send_response(200)
            self.end_headers()

    return Handler
