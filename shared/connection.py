"""A client's connection: uvicorn's, which would wait for a request without end, with limits."""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.types import Scope
from uuid_utils import uuid7
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.asgi_extensions import ANSWER, CLIENT_LEAVES, WHOLE_BODY, Headers
from shared.errors import InvalidInput
from shared.problem_details import PROBLEM_JSON, problem_body

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
TOO_LARGE = "The head of the request is too large."


class Connection(HttpToolsProtocol):
    """Is closed when no request begins, or the head of one takes too long or too many bytes.

    uvicorn itself limits the rest between two requests only, and only until the first byte. While
    the application is at work on a request, its own limits of time hold. What is left of a body
    after the answer has the same time as a head, and trailers as many bytes.

    It is cut off when the client does not take what was written to it: else an answer that nobody
    reads would hold its connection for ever, and a stop until it is over.

    It also offers what `shared.asgi_extensions` has. Of uvicorn it knows the methods that the event
    loop, the parser and the answer call, and the state that `RequestResponseCycle.send` leaves.
    """

    head_timeout_seconds: ClassVar[float]
    head_max_bytes: ClassVar[int]
    send_timeout_seconds: ClassVar[float]

    _at_work = 0  # requests whose head is there and whose answer is not complete
    _head_bytes = 0  # that came in a row and were no body: the parser keeps them all
    _deadline: asyncio.TimerHandle | None = None
    _send_deadline: asyncio.TimerHandle | None = None
    _is_lost = False
    _left: asyncio.Future[None] | None = None  # where somebody wants to hear of it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
        if self._left is not None:
            self._left.set_result(None)
        super().connection_lost(exc)
        self._is_lost = True
        # What refers back to this connection is dropped. Else only the collector would find it: 40
        # objects of each connection came together until there were 100,000, and looking through
        # them stopped a gateway for 0.2 s. An application at work holds what it needs.
        self.cycle = self.scope = None  # type: ignore[assignment] # uvicorn: never None

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > self.head_max_bytes:
            self._refuse_head()
        elif not self._at_work and self._deadline is None:
            self._start_waiting()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._at_work += 1
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        # The application begins after this, when the whole request has come in one piece.
        extensions: dict[str, Any] = {
            WHOLE_BODY: bytes(self.cycle.body),
            ANSWER: self._answer,
            CLIENT_LEAVES: self._leaves,
        }
        self.scope["extensions"] = extensions
        super().on_message_complete()

    def _answer(self, scope: Scope, status: int, headers: Headers, body: bytes) -> bool:
        """`RequestResponseCycle.send` of a whole answer (`shared.asgi_extensions.WriteAnswer`)."""
        if self._is_lost:
            return True
        cycle = self.cycle
        # Another scope: of HEAD, which has no body, or of a request before the latest one.
        if cycle.scope is not scope or self.flow.write_paused:
            return False
        lines = [STATUS_LINES[status]]
        lines += [b"%b: %b\r\n" % header for header in cycle.default_headers]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += [b"\r\n", body]
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _leaves(self) -> asyncio.Future[None]:
        """`shared.asgi_extensions.ClientLeaves`."""
        if self._left is None:
            self._left = self.loop.create_future()
        return self._left

    def on_response_complete(self) -> None:
        self._at_work -= 1
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._send_deadline = self.loop.call_later(self.send_timeout_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP comes to no route; it is refused here, in the form of every refusal."""
        body = problem_body(InvalidInput(msg))
        head = (
            "HTTP/1.1 400 Bad Request",
            f"content-type: {PROBLEM_JSON}",
            f"content-length: {len(body)}",
            f"x-request-id: {uuid7()}",
            "connection: close",
        )
        self.transport.write("\r\n".join((*head, "", "")).encode() + body)
        self.transport.close()

    def _refuse_head(self) -> None:
        if self._at_work:
            # An answer may have begun, and nothing can be said in the middle of it.
            self.transport.close()
        else:
            self.send_400_response(TOO_LARGE)

    def _start_waiting(self) -> None:
        self._deadline = self.loop.call_later(self.head_timeout_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
