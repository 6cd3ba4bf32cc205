"""A line in the log for each request that was answered, where the operator wants it."""

import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.asgi_extensions import ANSWER, WriteAnswer
from shared.logging import get_logger
from shared.settings import Settings

logger = get_logger(__name__)


def with_access_log(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application itself, unless the settings ask for these lines: then one layer around it."""
    return AccessLog(app) if settings.access_log else app


class AccessLog:
    """Tells method, path without its query, status and time of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answered = _Answered()
        extensions = scope.get("extensions", {})
        if ANSWER in extensions:
            scope["extensions"] = {**extensions, ANSWER: answered.by_extension(extensions[ANSWER])}
        try:
            await self._app(scope, receive, answered.by(send))
        finally:
            logger.info(
                "request_answered",
                method=scope["method"],
                path=scope["path"],
                status=answered.status,
                milliseconds=round(1e3 * (time.perf_counter() - began), 1),
            )


class _Answered:
    """The status of an answer, whichever way it takes; None: the client left before."""

    def __init__(self) -> None:
        self.status: int | None = None

    def by(self, send: Send) -> Send:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            await send(message)

        return noted

    def by_extension(self, answer: WriteAnswer) -> WriteAnswer:
        def noted(
            scope: Scope, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
        ) -> bool:
            self.status = status
            return answer(scope, status, headers, body)

        return noted
