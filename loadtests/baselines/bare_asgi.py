"""The ceiling: reads the body and answers a fixed 202 as large as a gateway's, and nothing else.

`python -m loadtests.baselines.bare_asgi PORT`; several may share the port, as gateways do.
"""

import sys

import msgspec
from starlette.types import Receive, Scope, Send

from shared.config.settings import Settings
from shared.purchases import purchase, still_queued
from shared.web.server import serve

ID = "01a203bc-a0e0-7261-b7d6-4031de569d41"
CREATED_AT = "2026-11-22T14:50:23.331077Z"
PURCHASE = purchase([(1, 1, "25.00")], id=ID, event=1, currency="EUR", created_at=CREATED_AT)
BODY = msgspec.json.encode(still_queued(PURCHASE, position=10, wait_seconds=0.1))
HEADERS = [
    (b"content-type", b"application/json"),
    (b"location", f"/api/ticket-purchases/{ID}/".encode()),
    (b"retry-after", b"1"),
    (b"content-length", b"%d" % len(BODY)),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """As little as an ASGI application can do and still take a purchase's request."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    # It has no database; the settings ask for one.
    settings = Settings(database_url="postgresql:///none")
    serve(app, "127.0.0.1", int(sys.argv[1]), settings, shares_port=True)
