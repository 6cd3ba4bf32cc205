"""Refuses bodies that are too large, whether they announce their length or not."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Stops reading a body at `max_bytes`.

    FastAPI's own `max_body_size` answers in plain text; ours is a problem document. It has to be
    an HTTPException: what else is raised while FastAPI reads a body becomes its 400.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bytes_read = 0

        async def receive_within_limit() -> Message:
            nonlocal bytes_read
            message = await receive()
            bytes_read += len(message.get("body", b""))
            if bytes_read > self._max_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_within_limit, send)
