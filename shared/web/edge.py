"""The outermost layer of every HTTP service, in plain ASGI."""

import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ClientLeft, CrossSiteRequest, ServerError
from shared.observability.logging import get_logger
from shared.observability.logging import request_id as in_log
from shared.observability.metrics import SERVER_ERRORS, count_answer
from shared.web.cross_site import is_cross_site
from shared.web.problem_details import ADDRESSES, problem_response
from shared.web.public_address import PublicAddresses
from shared.web.request_head import request_id

JSON = (b"content-type", b"application/json")
# A key of the scope, for responses whose body is a stream.
IS_HEAD = "eventify.is_head"
# A key of the scope: the values of the `Cookie` headers, unparsed.
COOKIES = "eventify.cookies"
logger = get_logger(__name__)


class Edge:
    """Request ids, cross-site protection, trailing slashes, unexpected errors, metrics.

    - `X-Request-ID`: the client's, if its form is harmless, or a new one; on every response, in
      `scope["request_id"]` and on every log line.
    - A cross-site request gets 403 before its body is read.
    - A body is JSON whatever its `Content-Type`, so that `curl -d '{...}'` works as typed.
    - `Cookie` headers are in `scope[COOKIES]` alone. FastAPI parses them on every route, and Python
      before 3.11.10 and 3.12.6 takes quadratic time for a quoted value (CVE-2024-7592).
    - HEAD works wherever GET does.
    - `/api/events` is redirected to `/api/events/` (308, which keeps the method).
    - An unexpected error is a logged traceback, and a 500 without details for the client.
    - Every response is counted, by the status in `scope["status"]`, and logged if asked for.

    Args:
        service: the name in metrics.
        addresses: the public URL; None: a path alone is known.
        access_log: whether to log method, path, status and duration of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: str,
        addresses: PublicAddresses | None = None,
        *,
        access_log: bool,
    ) -> None:
        self._app = app
        self._service = service
        self._addresses = addresses
        self._access_log = access_log
        # Exported as 0 from the start: Prometheus sees no increase in a series that starts with 1.
        SERVER_ERRORS.labels(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        named = name_request(scope)
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                scope["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", named)]
            await send(message)

        began = time.perf_counter() if self._access_log else 0.0
        path: str = scope["path"]
        method: str = scope["method"]
        scope = _normalised(scope)
        scope[ADDRESSES] = self._addresses
        # Each request is a task of its own, so its context ends with it.
        in_log.set(scope["request_id"])
        try:
            if self._addresses is not None and is_cross_site(scope, self._addresses):
                await problem_response(CrossSiteRequest(), scope)(scope, receive, send_with_id)
            elif path.startswith("/api/") and not path.endswith("/"):
                prefix = self._addresses.prefix(scope) if self._addresses is not None else ""
                await _redirect_to_slash(scope, prefix)(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except ClientLeft:
            return
        except Exception:
            logger.exception("request_failed", path=path)
            if not started:
                await problem_response(ServerError(), scope)(scope, receive, send_with_id)
        finally:
            count_answer(self._service, scope)
            if self._access_log:
                logger.info(
                    "request_answered",
                    method=method,
                    path=path,
                    status=scope.get("status"),  # None: the client disconnected before
                    milliseconds=round(1e3 * (time.perf_counter() - began), 1),
                )


def name_request(scope: Scope) -> bytes:
    """Put the request's id into `scope["request_id"]`; return the header's value."""
    named = request_id(scope["headers"])
    scope["request_id"] = named.decode()
    return named


def _normalised(scope: Scope) -> Scope:
    scope[COOKIES] = [value for name, value in scope["headers"] if name == b"cookie"]
    if scope[COOKIES]:
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"cookie"]
    if scope["method"] == "HEAD":
        # As GET; the server below, which keeps the method it has read, sends no body.
        return {**scope, "method": "GET", IS_HEAD: True}
    if scope["method"] in ("POST", "PUT", "PATCH") and JSON not in scope["headers"]:
        others = [header for header in scope["headers"] if header[0] != b"content-type"]
        scope["headers"] = [*others, JSON]
    return scope


def _redirect_to_slash(scope: Scope, prefix: str) -> Response:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    target = prefix.encode() + path.partition(b"?")[0] + b"/"
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    return Response(status_code=308, headers={"Location": target.decode("latin-1")})
