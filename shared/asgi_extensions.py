"""What our server offers an application beyond plain ASGI, and what stands in where it does not.

Both are keys of `scope["extensions"]`, set by `shared.connection.Connection`.
"""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import Scope, Send

# The body of a request that came in one piece with it, as bytes.
WHOLE_BODY: Final = "eventify.whole_body"
# Writes a whole answer at once: see `WriteAnswer`.
ANSWER: Final = "eventify.answer"

Headers = Sequence[tuple[bytes, bytes]]
# Takes status, headers and body; False when it cannot be done now, and nothing was written.
WriteAnswer = Callable[[int, Headers, bytes], bool]


async def send_whole(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send an answer that is complete, in one piece where the server can.

    By ASGI's two messages it takes 15 us, a third of what an empty request costs in all.

    Args:
        scope: of the request; whoever named it has put its id there.
        send: the application's.
        status: of the answer.
        headers: with lower-case names, and values without line breaks.
        body: as long as the header `content-length` says.
    """
    answer: WriteAnswer | None = scope.get("extensions", {}).get(ANSWER)
    if answer is not None:
        named = [*headers, (b"x-request-id", scope["request_id"].encode())]
        if answer(status, named, body):
            return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
