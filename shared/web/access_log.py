"""A log line for each response, where the operator wants it."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.config.settings import Settings
from shared.observability.logging import get_logger
from shared.web.asgi_extensions import ANSWERED

logger = get_logger(__name__)


def with_access_log(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application, with an `AccessLog` around it if the settings ask for one."""
    return AccessLog(app) if settings.access_log else app


class AccessLog:
    """Logs method, path without its query, status and duration of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            logger.info(
                "request_answered",
                method=scope["method"],
                path=scope["path"],
                # None: the client left before.
                status=scope.get(ANSWERED, status),
                milliseconds=round(1e3 * (time.perf_counter() - began), 1),
            )
