"""Extensions of our server to ASGI, with a fallback for other servers.

These are keys of `scope["extensions"]`, set by `shared.web.http_protocol.Connection`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

# The body of a request that came in one piece with it, as bytes.
WHOLE_BODY: Final = "eventify.whole_body"
# Writes a complete response at once: see `WriteAnswer`.
ANSWER: Final = "eventify.answer"
# Returns a future that is done when the client disconnects: see `ClientLeaves`.
CLIENT_LEAVES: Final = "eventify.client_leaves"

Headers = Sequence[tuple[bytes, bytes]]
# Takes the request's scope, status, headers and body. Returns False, and writes nothing, if the
# server cannot write now.
WriteAnswer = Callable[[Scope, int, Headers, bytes], bool]
# Returns the same future at each call; only the server may cancel it or set its result.
ClientLeaves = Callable[[], asyncio.Future[None]]


async def send_whole(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete response, in one piece where the server can.

    By ASGI's two messages each header is checked by two regular expressions, and head and body are
    written apart (docs/decisions/0010).

    Args:
        headers: with lower-case names, and values without line breaks.
        body: of the length in the header `content-length`.
    """
    scope["status"] = status
    answer: WriteAnswer | None = scope.get("extensions", {}).get(ANSWER)
    if answer is not None:
        named = [*headers, (b"x-request-id", scope["request_id"].encode())]
        if answer(scope, status, named, body):
            return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client_leaves(scope: Scope, receive: Receive) -> ClientLeaves:
    """A function that returns a future for the client's disconnect, once the body has been read.

    A task that waits for ASGI's message would take 3 KiB for each waiting client.
    """
    leaves: ClientLeaves | None = scope.get("extensions", {}).get(CLIENT_LEAVES)
    return leaves or (lambda: asyncio.ensure_future(_disconnect(receive)))


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
