"""A server of the core modules whose other responses a test writes, byte by byte."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue

from playwright.sync_api import Page

from gateway.pages.files import asset_hash, assets
from tests.support.http_servers import Quiet, serving

CORE = f"/assets/{asset_hash()}/core"
BLANK = b"<!DOCTYPE html><html lang=en><title>Test</title>"
Response = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer:
    """Answers the requests below /api/ by these responses, one after another.

    Attributes:
        requests: the headers of each of them.
    """

    def __init__(self) -> None:
        self.responses: SimpleQueue[Response] = SimpleQueue()
        self.requests: list[Message] = []
        self.url = ""

    def page(self, page: Page) -> Page:
        """The same window with a page of this server, which imports `core` from `window.core`."""
        page.goto(self.url)
        page.evaluate(f"() => {{ window.core = name => import(`{CORE}/${{name}}.js`); }}")
        return page


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    scripted, files = ScriptedServer(), assets()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/api/"):
                scripted.requests.append(self.headers)
                scripted.responses.get(timeout=30)(self)
                return
            file = files.get(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if file else "text/html")
            self.end_headers()
            self.wfile.write(file.plain.body if file else BLANK)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        scripted.url = f"{url}/"
        yield scripted


def responding(status: int, body: bytes = b"", **headers: str) -> Response:
    """A response that ends with the connection."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def streaming(*pieces: bytes, until: threading.Event | None = None) -> Response:
    """Server-sent events in these pieces; then silence until the event, if there is one."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        responding(200, Content_Type="text/event-stream")(handler)
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
        if until is not None and not until.wait(10):
            handler.wfile.write(b"data: too late\n\n")

    return respond
