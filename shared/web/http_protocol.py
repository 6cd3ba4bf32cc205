"""uvicorn's HTTP/1.1 protocol, with limits, and with the rules of RFC 9110 and RFC 9112."""

import asyncio
import re
import socket
from collections import OrderedDict, deque
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import unquote

import httptools
from starlette.types import Message, Receive, Scope, Send
from uvicorn._types import ASGIVersions
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.errors import InvalidInput, Problem
from shared.web.asgi_extensions import ANSWER, CLIENT_LEAVES, WHOLE_BODY, Headers
from shared.web.lazy_event import LazyEvent
from shared.web.problem_details import METHODS, PROBLEM_JSON, problem_body
from shared.web.request_head import (
    HEADERS_MAX,
    check_head,
    join_repeated,
    read_target,
    request_id,
    with_host,
)

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
HEAD_END: Final = b"\r\n\r\n"
LINE_END: Final = b"\r\n"
# Of a `HEAD_END` that began in another packet.
HEAD_END_REST: Final = re.compile(rb"\n\r\n|\r\n|\n")
WHITE_SPACE: Final = b" \t"  # RFC 9110, 5.6.3
ASGI_VERSIONS: Final[ASGIVersions] = {"version": "3.0", "spec_version": "2.3"}
TOO_LARGE: Final = "The head of the request is too large."
TOO_MANY_HEADERS: Final = "The request has too many headers."
NOT_HTTP: Final = "The request is not valid HTTP: %s."
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# Requests that wait behind the one in progress. Bytes beyond are not read: the connection closes
# after the responses, and clients send the rest again (RFC 9112, 9.3.2).
PIPELINED_MAX_BYTES: Final = 65_536
# A connection that is closed while the client still sends is reset, and the response may be lost
# with it (RFC 9112, 9.6). So for a while input is read and dropped.
LINGER_SECONDS: Final = 2.0
# Most waits are over by then.
FIRST_PROBE_SECONDS: Final = 1.0
NEXT_PROBE_SECONDS: Final = 5.0
# For a RST to come back.
PROBE_ANSWER_SECONDS: Final = 0.25
# Clients read 16 hexadecimal digits.
ZEROS_MAX: Final = 8
TCP_CLOSE: Final = 7  # Linux, include/net/tcp_states.h


class Flow(FlowControl):
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._is_writable_event = LazyEvent(is_set=True)  # type: ignore[assignment]


class Exchange(RequestResponseCycle):
    _until_close = False
    _is_probed = False
    _zeros = 0  # that were written before a chunk

    async def send(self, message: Message) -> None:  # type: ignore[override]
        if message["type"] == "http.response.start":
            self.prepare_answer()
            # HTTP/1.0 knows no chunks (RFC 9112, 6.1): the end of the connection ends the answer.
            if self.scope["http_version"] == "1.0" and not any(
                name == b"content-length" for name, _ in message["headers"]
            ):
                self._until_close, self.chunked_encoding = True, False
        elif self._until_close:
            self.expected_content_length = len(message.get("body", b""))
        self._zeros = 0
        await super().send(message)  # type: ignore[arg-type]

    def probe(self) -> bytes:
        """Bytes that may be written without being part of the response; every second time none."""
        self._is_probed = not self._is_probed
        if not self._is_probed or self.scope["http_version"] == "1.0":
            return b""
        if not self.response_started:
            # Clients take any number of them, asked for or not (RFC 9110, 15.2.1).
            return CONTINUE
        if self.chunked_encoding and self.scope["method"] != "HEAD" and self._zeros < ZEROS_MAX:
            # The size of the next chunk may begin with it (RFC 9112, 7.1).
            self._zeros += 1
            return b"0"
        return b""

    def prepare_answer(self) -> None:
        if self.waiting_for_100_continue and self.more_body:
            # Whether the body will come is unknown (RFC 9110, 10.1.1).
            self.keep_alive = False


class Connection(HttpToolsProtocol):
    """Reads requests and writes their responses in order.

    What it adds to uvicorn's:

    - Limits. The connection is closed when no request begins, or its head takes too long or too
      many bytes. The rest of a body after the response has the same time as a head, and trailers
      the same number of bytes. The connection is aborted when the client does not read. Of too many
      idle connections, the oldest are closed.
    - One request at a time. Bytes behind a request in progress stay unparsed, so that they cannot
      change its response, and take no more memory than their size.
    - Errors of the parser or of `shared.web.request_head` are problem documents, in order; then the
      connection closes.
    - `Upgrade` is ignored (RFC 9110, 7.8): the body is a body.
    - White space around a header's value is removed (RFC 9110, 5.5). Trailers are dropped.
    - A client that has closed its sending side gets the responses to what it has sent.
    - The extensions in `shared.web.asgi_extensions`.
    - Little memory: thousands wait. Up to 30 attributes of an object share their names with all of
      its class (CPython's `SHARED_KEYS_MAX_SIZE`): uvicorn's do, and ours are slots.

    Private to uvicorn, and therefore locked with its version: the methods that the event loop, the
    parser and the response call, and the state that `RequestResponseCycle.send` leaves. This class
    is itself the transport of an `Exchange`.
    """

    header_timeout_seconds: ClassVar[float]
    head_max_bytes: ClassVar[int]
    send_timeout_seconds: ClassVar[float]
    idle_max: ClassVar[int]

    cycle: Exchange
    parser: httptools.HttpRequestParser | None  # type: ignore[assignment] # uvicorn: never None

    # Between two requests, the oldest first.
    _idle: ClassVar[OrderedDict["Connection", None]] = OrderedDict()

    # The headers of every response, and their lines.
    _defaults: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")
    # uvicorn's own queue of requests, which is always empty here.
    _no_pipeline: ClassVar[deque[Any]] = deque(maxlen=0)

    __slots__ = (
        "_at_work",
        "_body_bytes",
        "_deadline",
        "_half_closed",
        "_head_bytes",
        "_ignores_upgrade",
        "_input_ended",
        "_is_lost",
        "_last_request_read",
        "_left",
        "_lingering",
        "_probe",
        "_reading_body",
        "_send_deadline",
        "_unparsed",
    )

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pipeline = self._no_pipeline
        self._at_work = False  # on a request whose head is there and whose answer is not complete
        self._head_bytes = 0  # that came in a row and were no body: the parser keeps them all
        self._reading_body = False  # between the end of a head and the end of its message
        self._body_bytes = 0  # of the body that is being read, if its length is known
        # The parser takes the end of this head for the end of the message.
        self._ignores_upgrade = False
        self._unparsed = b""
        self._last_request_read = False  # there will be no other request
        self._input_ended = False  # nothing more is read
        self._half_closed = False
        self._lingering = False
        self._deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._is_lost = False
        self._left: asyncio.Future[None] | None = None  # where an application wants to know

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.headers = []
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._unset_keepalive_if_required()
        self._idle.pop(self, None)
        for timer in (self._send_deadline, self._probe):
            if timer is not None:
                timer.cancel()
        if self._left is not None:
            self._left.set_result(None)
        super().connection_lost(exc)
        self._is_lost = True
        # What refers back to this connection is dropped. Else only the collector would find it: 40
        # objects of each connection came together until there were 100,000, and looking through
        # them stopped a gateway for 0.2 s. An application at work holds what it needs.
        self.cycle = self.scope = None  # type: ignore[assignment] # uvicorn: never None
        self._unparsed = b""

    def data_received(self, data: bytes) -> None:
        if self._input_ended:
            return
        self._unset_keepalive_if_required()
        self._idle.pop(self, None)
        self._unparsed += data
        self._parse_unparsed()
        if not self._at_work:
            self._expect_progress()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn: None, and closes
        """Whether the connection stays open for responses to what was sent."""
        self._input_ended = True
        if not self._is_answering or self._lingering:
            return False
        self._half_closed = True
        self._probe = self.loop.call_later(FIRST_PROBE_SECONDS, self._check_client)
        return True

    def pause_writing(self) -> None:
        self._send_deadline = self.loop.call_later(self.send_timeout_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None
        super().resume_writing()

    # --- parsing ---

    @property
    def _is_answering(self) -> bool:
        """Whether a whole request has been read and its response is not complete."""
        return self._at_work and not self._reading_body

    def _parse_unparsed(self) -> None:
        """Feed the parser up to the end of a request, and no further until its response.

        The parser does not stop there by itself. A body ends at its length; a head and a chunked
        body end in an empty line, so it gets one of those at a time.
        """
        data, at = self._unparsed, 0
        size = len(data)
        while (
            at < size and (self._reading_body or not self._at_work) and not self._last_request_read
        ):
            if self._body_bytes:
                end = min(size, at + self._body_bytes)
                self._body_bytes -= end - at
            elif data[at] in LINE_END and (rest := HEAD_END_REST.match(data, at)):
                end = rest.end()
            else:
                found = data.find(HEAD_END, at)
                end = found + len(HEAD_END) if found >= 0 else size
            self._parse(data[at:end])
            at = end
        self._unparsed = b"" if self._last_request_read else data[at:]
        # A head that is too large is found behind that many bytes of requests.
        max_bytes = PIPELINED_MAX_BYTES + self.head_max_bytes
        if len(self._unparsed) > max_bytes:
            self._unparsed = self._unparsed[:max_bytes]
            self._input_ended = True
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self.parser is None:  # released in `_leaves`
            self.parser = self._new_parser()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_behind_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Problem):
                self.logger.critical("A callback of the HTTP parser failed", exc_info=cause)
            self._fail(cause if isinstance(cause, Problem) else InvalidInput(NOT_HTTP % error))
        else:
            if len(self.headers) > HEADERS_MAX:
                self._fail(InvalidInput(TOO_MANY_HEADERS))
            elif self._head_bytes > self.head_max_bytes:
                self._fail(InvalidInput(TOO_LARGE))

    def _parse_behind_upgrade(self, data: bytes) -> None:
        """Continue with a parser that has read the same head without its `Upgrade`.

        httptools takes what follows such a head for another protocol, and would read a body as the
        next request (MagicStack/httptools#124).
        """
        framing = [
            b"%b: %b\r\n" % header
            for header in self.scope["headers"]
            if header[0] in (b"content-length", b"transfer-encoding")
        ]
        self.parser = self._new_parser()
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
        if data:
            self._parse(data)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's first one
        return parser

    def on_message_begin(self) -> None:
        if self._reading_body:
            return  # of the message behind an `Upgrade`
        self.url = b""
        self.headers = []
        self.scope = {  # type: ignore[typeddict-item]
            "type": "http",
            "asgi": ASGI_VERSIONS,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is dropped: it must not be taken for a header (RFC 9110, 6.5.1).
        if not self._reading_body:
            self.headers.append((name.lower(), value.strip(WHITE_SPACE)))

    def on_headers_complete(self) -> None:
        if self._reading_body:
            return
        if self._head_bytes > self.head_max_bytes:
            raise InvalidInput(TOO_LARGE)
        self._head_bytes = 0
        scope, headers, parser = self.scope, self.headers, self.parser
        assert parser is not None, "it calls this"
        method = scope["method"] = parser.get_method().decode()
        version = scope["http_version"] = parser.get_http_version()
        self.headers = []
        if len(headers) > HEADERS_MAX:
            raise InvalidInput(TOO_MANY_HEADERS)
        by_name = dict(headers)
        if len(by_name) != len(headers):
            headers = scope["headers"] = join_repeated(headers)
            by_name = dict(headers)
        expect = by_name.get(b"expect")
        check_head(method, version, by_name.get(b"host"), by_name.get(b"transfer-encoding"))
        path, query, authority = read_target(method, self.url)
        if authority is not None:
            scope["headers"] = with_host(headers, authority)  # RFC 9112, 3.2.2
        elif by_name.get(b"host") == b"":
            scope["headers"] = with_host(headers, None)
        text = path.decode("ascii")
        scope["path"] = self.root_path + (unquote(text) if "%" in text else text)
        scope["raw_path"] = self.root_path.encode("ascii") + path
        scope["query_string"] = query
        self._reading_body = True
        self._body_bytes = int(by_name.get(b"content-length", 0))
        self._ignores_upgrade = parser.should_upgrade()
        self._stop_deadline()
        is_old = version == "1.0"
        self._take(
            scope,
            self.app if path != b"*" else answer_server_options,
            not is_old and parser.should_keep_alive(),
            # RFC 9110, 10.1.1
            expect is not None and not is_old and expect.lower() == b"100-continue",
        )

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        if self._ignores_upgrade:
            self._ignores_upgrade = False
            return
        self._reading_body = False
        if not self.cycle.keep_alive:
            self._last_request_read = True  # RFC 9112, 9.6
        # The application begins after this, when the whole request has come in one piece.
        extensions: dict[str, Any] = {
            WHOLE_BODY: bytes(self.cycle.body),
            ANSWER: self._answer,
            CLIENT_LEAVES: self._leaves,
        }
        self.scope["extensions"] = extensions
        super().on_message_complete()

    def _take(self, scope: Any, app: Any, keep_alive: bool, expects_continue: bool = False) -> None:
        self._at_work = True
        self.cycle = Exchange(
            scope=scope,
            transport=self,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,  # `shared.web.edge.Edge` writes ours
            default_headers=self.server_state.default_headers,
            message_event=LazyEvent(),  # type: ignore[arg-type]
            expect_100_continue=expects_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, app)

    def _fail(self, problem: Problem) -> None:
        """Respond with an error, and read nothing more."""
        self._last_request_read = self._input_ended = True
        self._stop_deadline()
        if self._reading_body:
            self._reading_body = False
            # The application will not get this request; the one who sent it gets this answer.
            broken = self.cycle
            if broken.response_complete:
                self._linger()
                return
            if broken.response_started:
                self.transport.close()  # nothing can be said in the middle of an answer
                return
            broken.disconnected = True
            broken.message_event.set()
        scope: Any = self.scope
        known = scope or {}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": known.get("method", "GET"),
            "headers": known.get("headers", []),
        }
        self._take(scope, ProblemApp(problem), False)

    # --- answering ---

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def is_closing(self) -> bool:
        return self._lingering or self.transport.is_closing()

    def close(self) -> None:
        """Called when the last response is written."""
        if self._half_closed or not (self._reading_body or self._input_ended):
            self.transport.close()
        else:
            self._linger()

    def _answer(self, scope: Scope, status: int, headers: Headers, body: bytes) -> bool:
        """`RequestResponseCycle.send` of a whole answer (`asgi_extensions.WriteAnswer`)."""
        if self._is_lost:
            return True
        cycle = self.cycle
        # Another scope is that of HEAD, which has no body.
        if cycle.scope is not scope or self.flow.write_paused:
            return False
        if cycle.waiting_for_100_continue:
            cycle.prepare_answer()
        lines = [STATUS_LINES[status], self._default_lines(cycle.default_headers)]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += [b"\r\n", body]
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.close()
        cycle.on_response()
        return True

    @classmethod
    def _default_lines(cls, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn makes another list of them each second."""
        known, lines = cls._defaults
        if headers is not known:
            lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            cls._defaults = headers, lines
        return lines

    def on_response_complete(self) -> None:
        self._at_work = False
        if self._lingering:
            return
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._unparsed:
            self._unset_keepalive_if_required()
            self._parse_unparsed()
            self._expect_progress()
        if self._is_answering or self._lingering:
            return
        if self._input_ended:
            self._unset_keepalive_if_required()
            self.close()
        elif self._at_work:
            return
        elif self._reading_body:
            self._unset_keepalive_if_required()
            self._expect_progress()
        elif self._deadline is None:
            self._be_idle()

    def _be_idle(self) -> None:
        self._idle[self] = None
        if len(self._idle) > self.idle_max:
            oldest, _ = self._idle.popitem(last=False)
            oldest.transport.close()

    # --- the client that leaves ---

    def _leaves(self) -> asyncio.Future[None]:
        """`shared.web.asgi_extensions.ClientLeaves`.

        Who asks will wait. The parser, 900 bytes with its callbacks, is not needed before the next
        request.
        """
        if self._is_answering:
            self.parser = None
        if self._left is None:
            self._left = self.loop.create_future()
            if self._is_lost:
                self._left.set_result(None)
        return self._left

    def _check_client(self) -> None:
        """Find out whether a client that has sent a FIN still reads.

        A FIN does not say whether it has closed the connection or only its sending side. Only the
        former answers a write with a RST.
        """
        if self.transport.is_closing():
            return
        if self._is_reset():
            self.transport.abort()
            return
        probe = self.cycle.probe()
        if probe:
            self.transport.write(probe)
        seconds = PROBE_ANSWER_SECONDS if probe else NEXT_PROBE_SECONDS
        self._probe = self.loop.call_later(seconds, self._check_client)

    def _is_reset(self) -> bool:
        """The event loop no longer reads from this socket, so it would not notice."""
        line = self.transport.get_extra_info("socket")
        state: bytes = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state[0] == TCP_CLOSE

    # --- limits of time ---

    def _expect_progress(self) -> None:
        if not self._at_work and self._deadline is None and not self.is_closing():
            self._start_deadline()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_seconds, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _linger(self) -> None:
        """Close the sending side now, and the connection when the client has done so, or soon."""
        self._lingering = self._input_ended = True
        self._stop_deadline()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)


class ProblemApp:
    """An ASGI application that responds with a problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = problem_body(self._problem, scope)
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id(scope["headers"])),
        ]
        status = self._problem.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def answer_server_options(scope: Scope, receive: Receive, send: Send) -> None:
    """`OPTIONS *` (RFC 9110, 9.3.7) asks for the server as a whole: a ping."""
    headers = [
        (b"allow", ", ".join((*METHODS, "OPTIONS")).encode()),
        (b"x-request-id", request_id(scope["headers"])),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
