"""Forwards requests for events and ticket types to the catalog, byte for byte."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import cache
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from yarl import URL

from gateway.rate_limits.of_catalog import CatalogLimits
from gateway.rows.reader import Row
from gateway.unread_responses import LARGE_BYTES, HeldResponse, UnreadResponses
from shared.auth.authenticator import Authenticator
from shared.auth.caller import KeyScope
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings
from shared.errors import Unavailable, on_problem
from shared.observability.logging import get_logger
from shared.observability.metrics import NamedRoute
from shared.web.cross_site import SAFE_METHODS
from shared.web.problem_details import PROBLEM_JSON
from shared.web.public_address import PublicAddresses

PREFIXES = ("/api/events/", "/api/ticket-types/")
FORWARDED = frozenset(
    {
        *("authorization", "content-type", "accept"),
        *("if-match", "if-none-match", "idempotency-key"),
    }
)
# Of one connection only (RFC 9110, 7.6.1), or set by the gateway itself.
DROPPED = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("trailer", "transfer-encoding", "upgrade", "content-length"),
        *("date", "server", "x-request-id", "x-content-type-options"),
    }
)
# Of the catalog's `keep_alive_seconds`. Our end must close first, or a request could be sent into a
# connection that is being closed.
KEEP_ALIVE_SHARE = 0.8
# A host that is running responds within milliseconds.
CONNECT_TIMEOUT_SECONDS = 2.0
# Organisers' traffic is light; more would only queue at the catalog's own connection pool.
CONNECTIONS_MAX = 100
# Of one user; browsers ask for six things at a time.
WAITING_OF_USER_MAX = 20
logger = get_logger(__name__)


class TooLargeToKeep(Exception):
    """A response that is not kept in memory."""


class CatalogProxy:
    """An ASGI application that forwards authenticated requests to the catalog."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        limits: CatalogLimits,
        addresses: PublicAddresses,
    ) -> None:
        self._limits = limits
        self._addresses = addresses
        self._turns = Turns(
            settings.catalog_user_requests_max,
            waiting_max=WAITING_OF_USER_MAX,
            wait_seconds=settings.answer_timeout_seconds,
        )
        self._unread = UnreadResponses(
            settings.unread_answers_max_bytes, settings.send_timeout_seconds
        )
        self._base = settings.catalog_url.rstrip("/")
        self._settings = settings
        self._authenticator = authenticator
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Call it on the event loop that serves."""
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX,
                keepalive_timeout=KEEP_ALIVE_SHARE * settings.keep_alive_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = next(prefix for prefix in PREFIXES if scope["path"].startswith(prefix))
        scope["route"] = route_of(prefix)
        # The catalog asks again: this one is for not reading the bodies of strangers.
        caller = await self._authenticator.caller(scope["headers"])
        caller.require(KeyScope.READ if scope["method"] in SAFE_METHODS else KeyScope.MANAGE)
        user_id = caller.user_id
        limits = await self._limits.draw(user_id, scope["method"], is_list=scope["path"] == prefix)
        request = Request(scope, receive)
        body = await request.body()
        with on_problem(add=limits):
            await self._answer(user_id, request, body, limits, send)

    async def _answer(
        self, user_id: int, request: Request, body: bytes, limits: Mapping[str, str], send: Send
    ) -> None:
        with ExitStack() as until_sent:
            held: list[HeldResponse] = []

            def hold(size: int) -> None:
                held.append(until_sent.enter_context(self._unread.hold(user_id, size)))

            async with self.turn_of(user_id):
                answer, content = await self.ask(
                    request.method,
                    target(request.scope),
                    headers=self._onward_headers(request.scope),
                    body=body,
                    only_reads=request.method in SAFE_METHODS,
                    before_body=hold,
                )
            check_server_error(request.method, answer)
            headers = [
                (b"content-length", content_length(answer, content)),
                *kept(answer.headers),
                *((name.lower().encode(), value.encode()) for name, value in limits.items()),
            ]
            if request.method != "HEAD" and answer.status in (204, 304):
                headers = headers[1:]
            if held:
                await self._unread.send(held[0], send, answer.status, headers, content)
                return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def turn_of(self, user_id: int) -> AbstractAsyncContextManager[None]:
        """In which a user may ask the catalog; entering it may raise Unavailable."""
        return self._turns.of(user_id)

    async def read_row(self, scope: Scope) -> Row | None:
        """The row that a request names, whatever it has of it; None: it is too large to keep.

        Raises:
            Unavailable: the catalog did not respond in time, or not at all.
        """
        headers = [one for one in self._onward_headers(scope) if one[0] != "if-none-match"]
        try:
            answer, content = await self.ask(
                "GET", target(scope), headers=headers, only_reads=True, before_body=_refuse_to_keep
            )
        except TooLargeToKeep:
            return None
        check_server_error("GET", answer)
        length = (b"content-length", content_length(answer, content))
        return Row(answer.status, [length, *kept(answer.headers)], content)

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        only_reads: bool = False,
        before_body: Callable[[int], None] | None = None,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """The catalog's response, and its whole body.

        Args:
            target: path and query.
            only_reads: a retry costs nothing, so the time-out is short.
            before_body: called with the size of a large body before it is read; it may raise.

        Raises:
            Unavailable: it did not respond in time, or not at all.
        """
        assert self._session is not None, "the proxy is not open"
        try:
            async with self._session.request(
                method,
                URL(self._base + target, encoded=True),
                headers=CIMultiDict(headers),
                data=body or None,
                timeout=self._wait_limit(only_reads=only_reads),
                allow_redirects=False,
            ) as answer:
                size = int(answer.headers.get("content-length", 0)) if method != "HEAD" else 0
                if before_body is not None and size > LARGE_BYTES:
                    before_body(size)
                return answer, await answer.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
            logger.warning("catalog_unavailable", error=repr(error))
            raise Unavailable(_lost_answer(method, error)) from error

    def _onward_headers(self, scope: Scope) -> list[tuple[str, str]]:
        """The client's headers without those of the connection, and the public URL."""
        address = self._addresses.of(scope)
        headers = [(n, value) for n, value in Headers(scope=scope).items() if n in FORWARDED]
        headers.append(("X-Request-ID", scope["request_id"]))
        headers.append(("X-Forwarded-Proto", address.scheme))
        headers.append(("X-Forwarded-Host", address.host))
        if address.prefix:
            headers.append(("X-Forwarded-Prefix", address.prefix))
        return headers

    def _wait_limit(self, *, only_reads: bool) -> aiohttp.ClientTimeout:
        settings = self._settings
        return aiohttp.ClientTimeout(
            total=settings.answer_timeout_seconds
            if only_reads
            else settings.catalog_timeout_seconds,
            sock_connect=CONNECT_TIMEOUT_SECONDS,
        )


@cache
def route_of(prefix: str) -> NamedRoute:
    return NamedRoute(prefix + "{rest}")


def _refuse_to_keep(_size: int) -> None:
    raise TooLargeToKeep


def target(scope: Scope) -> str:
    """Path and query as the client wrote them."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("ascii", "surrogateescape")


def kept(headers: CIMultiDictProxy[str]) -> list[tuple[bytes, bytes]]:
    """The headers of a response that are meant for the client."""
    of_the_connection = {
        name.strip().lower()
        for value in headers.getall("connection", ())
        for name in value.split(",")
    }
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", "surrogateescape"))
        for name, value in headers.items()
        if name.lower() not in DROPPED | of_the_connection
    ]


def content_length(answer: aiohttp.ClientResponse, content: bytes) -> bytes:
    """The length of the body; for HEAD the length that the body would have."""
    if answer.method == "HEAD" and "content-length" in answer.headers:
        return answer.headers["content-length"].encode()
    return b"%d" % len(content)


def check_server_error(method: str, answer: aiohttp.ClientResponse) -> None:
    """Raises:
    Unavailable: a 5xx that is not a problem document, of a catalog that was stopped during a
        request, or of a proxy before it.
    """
    is_problem = answer.headers.get("content-type", "").startswith(PROBLEM_JSON)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_problem:
        logger.warning("catalog_response_invalid", status=answer.status)
        raise Unavailable(_lost_answer(method, None))


def _lost_answer(method: str, error: Exception | None) -> str:
    if method in SAFE_METHODS or isinstance(error, aiohttp.ClientConnectorError):
        return "The catalog does not answer for now; try again."
    return (
        "The catalog's answer was lost; look whether it was done before you try again, or send it"
        " with the same Idempotency-Key."
    )
