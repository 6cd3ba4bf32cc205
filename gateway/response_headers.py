"""Headers for browsers, of every response that FastAPI makes. Pages have their own."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.web.public_address import PublicAddresses

CONTENT_SECURITY_POLICY = b"content-security-policy"
# As OWASP recommends for an API: shown as a page, a response may load and run nothing, and no page
# may frame it. The documentation pages have a policy of their own.
NOTHING_ALLOWED = (CONTENT_SECURITY_POLICY, b"default-src 'none'; frame-ancestors 'none'")
# For browsers that do not know `frame-ancestors`.
NEVER_FRAMED = (b"x-frame-options", b"DENY")
SECURITY_HEADERS = (
    NEVER_FRAMED,
    # The path of a purchase has its id, which other sites must not get.
    (b"referrer-policy", b"no-referrer"),
)
FOR_BROWSERS = (NOTHING_ALLOWED, *SECURITY_HEADERS)


class ResponseHeaders:
    """Adds security headers, and to `Location` the path prefix of a reverse proxy."""

    def __init__(self, app: ASGIApp, addresses: PublicAddresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [self._mounted(scope, *header) for header in message.get("headers", ())]
                if not any(name == CONTENT_SECURITY_POLICY for name, _ in headers):
                    headers.append(NOTHING_ALLOWED)
                message["headers"] = [*headers, *SECURITY_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _mounted(self, scope: Scope, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name == b"location" and value.startswith(b"/"):
            return name, self._addresses.prefix(scope).encode() + value
        return name, value
