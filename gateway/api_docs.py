"""The OpenAPI document as a page: Swagger UI, with all of its files from here.

All addresses in it are relative, so it works under any path; and it keeps no tokens.
"""

import importlib.util
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from shared.errors import MethodNotAllowed, Unavailable

ASSETS_URL = "/docs-assets"
SCRIPT_URL = f"{ASSETS_URL}/eventify-docs.js"
# Scripts come from here alone, and none stands in the page itself. Swagger UI sets a few styles
# inline, and its stylesheet has images inside.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Eventify API</title>
  <link rel="service-desc" type="application/json" href="../../api/schema/">
  <link rel="icon" href="../..{ASSETS_URL}/favicon.png">
  <link rel="stylesheet" href="../..{ASSETS_URL}/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="../..{ASSETS_URL}/swagger-ui-bundle.js"></script>
  <script src="../..{SCRIPT_URL}"></script>
</body>
</html>
"""
# `validatorUrl`: else the document's address goes to swagger.io. "authorized" is where an earlier
# version of this page had Swagger UI keep tokens.
SCRIPT = """\
localStorage.removeItem("authorized");
SwaggerUIBundle({
  url: document.querySelector("link[rel=service-desc]").href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  showCommonExtensions: true,
  showExtensions: true,
  validatorUrl: null,
});
"""

# Files at a time: 165 KiB each while nobody reads them.
SENDING_MAX = 100

router = APIRouter(tags=["Operation"])


@router.get(
    "/api/docs/",
    summary="This document as pages",
    response_class=HTMLResponse,
    response_description="Swagger UI",
)
async def docs() -> HTMLResponse:
    """Swagger UI, with all of its files from the gateway."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


async def script(_request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript")


class Assets(StaticFiles):
    """The files of Swagger UI, for a limited number of clients at a time.

    Each client that does not read holds a buffer and an open file until it is cut off. Whole files
    only (RFC 9110, 14.2): Starlette reports a wrong `Range` in plain text.
    """

    def __init__(self) -> None:
        super().__init__(directory=assets_folder())
        self._sending = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises:
        MethodNotAllowed: Starlette's 405 of a mounted path has no `Allow`.
        Unavailable: too many are being sent.
        """
        if scope["method"] != "GET":
            raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
        if self._sending >= SENDING_MAX:
            raise Unavailable("Too many clients are reading these files; try again.")
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"range"]
        self._sending += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending -= 1

    def file_response(self, *args: Any, **options: Any) -> Response:
        answer = super().file_response(*args, **options)
        answer.headers["Accept-Ranges"] = "none"
        return answer


def assets_folder() -> Path:
    """The files of Swagger UI in the package `fastapi-offline`."""
    package = importlib.util.find_spec("fastapi_offline")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "static"
