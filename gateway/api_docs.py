"""The API reference: Swagger UI, with all of its files served by the gateway.

All of its URLs are relative, so it works under any path. It stores no tokens.
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
# Only scripts of this origin, none inline. Swagger UI sets a few inline styles, and its stylesheet
# contains images.
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
# `validatorUrl: null` keeps Swagger UI from sending the document's URL to swagger.io. An earlier
# version of this page stored tokens under "authorized".
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

# Concurrent responses: each holds 165 KiB while its client does not read.
SENDING_MAX = 100

router = APIRouter(tags=["Operation"])


@router.get(
    "/api/docs/",
    operation_id="operation.docs",
    summary="API reference",
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
