"""The ceiling: reads the body and answers a fixed 202 as large as a gateway's, and nothing else.

`python -m loadtests.baselines.bare_asgi PORT`; several may share the port, as gateways do.
"""

import sys

import msgspec
from starlette.types import Receive, Scope, Send

from shared.config.settings import Settings
from shared.purchases import QUEUED, QueuedPurchase
from shared.web.server import serve

ID = "01a203bc-a0e0-7261-b7d6-4031de569d41"
BODY = msgspec.json.encode(
    QueuedPurchase(
        id=ID,
        ticket_type=1,
        event=1,
        quantity=1,
        unit_price="25.00",
        total_price="25.00",
        status=QUEUED,
        reason=None,
        created_at="2026-11-22T14:50:23.331077Z",
        decided_at=None,
        position=10,
        estimated_wait_seconds=0.1,
    )
)
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
