"""Reads a request's body within a size and a time, whatever its `Content-Length`."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import BodyTooLarge, BodyTooSlow, ClientLeft, UnsupportedContentEncoding
from shared.web.asgi_extensions import WHOLE_BODY
from shared.web.cross_site import SAFE_METHODS

PLAIN = (b"", b"identity")


async def read_body(
    scope: Scope, receive: Receive, *, max_bytes: int, timeout_seconds: float
) -> bytes:
    """The whole body of a request.

    Raises:
        BodyTooLarge: it has more than `max_bytes`; the rest is not read.
        BodyTooSlow: it took longer than `timeout_seconds`.
        UnsupportedContentEncoding: it is compressed; it is not read.
        ClientLeft: before its end.
    """
    if scope["method"] not in SAFE_METHODS:
        for name, value in scope["headers"]:
            if name == b"content-encoding" and value.lower() not in PLAIN:
                raise UnsupportedContentEncoding
    # A body that is there already needs no timer, which alone takes 5 us.
    whole: bytes | None = scope.get("extensions", {}).get(WHOLE_BODY)
    if whole is not None:
        if len(whole) > max_bytes:
            raise BodyTooLarge
        return whole
    # Before it is invited, by 100 (Continue).
    if any(n == b"content-length" and int(value) > max_bytes for n, value in scope["headers"]):
        raise BodyTooLarge
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read(receive, max_bytes)
    except TimeoutError as error:
        raise BodyTooSlow from error


async def _read(receive: Receive, max_bytes: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > max_bytes:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return body


class BodyLimit:
    """Gives an application the whole body at once, when it asks for it and within the limits."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        was_read = False

        async def receive_within_limits() -> Message:
            nonlocal was_read
            if was_read:
                return await receive()
            was_read = True
            body = await read_body(
                scope,
                receive,
                max_bytes=self._max_bytes,
                timeout_seconds=self._timeout_seconds,
            )
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_within_limits if scope["type"] == "http" else receive, send)
