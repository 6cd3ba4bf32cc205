"""A purchase as a stream of server-sent events (WHATWG HTML, 9.2).

`position` while it is queued and moves up, `outcome` once it is decided or held, which ends it;
the data of both is the purchase as in every other response.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from gateway.media_types import media_ranges, preference
from gateway.purchases.look_up import PurchaseAnswer

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
NOT_STORED = (b"cache-control", b"no-store")
VARY = (b"vary", b"Authorization, Accept")
HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    NOT_STORED,
    VARY,
    # nginx would hold events back until its buffer is full.
    (b"x-accel-buffering", b"no"),
]
# In the first event: a browser that lost the stream reconnects after this many milliseconds. Alone
# before a blank line it would be an empty event to httpx-sse.
RETRY = b"retry: 1000\n"
# A comment: it keeps the connection open, and reveals a client that has disconnected. No blank line
# may follow, of which httpx-sse would make an event.
KEEP_ALIVE = b":\n"


def wants_events(accept: bytes) -> bool:
    """Whether a client that sends this `Accept` prefers events to JSON.

    It has to name them. The higher quality counts; of two that are equal, the first one.
    """
    if EVENT_STREAM.encode() not in accept.lower():
        return False
    ranges = media_ranges(accept)
    if all(media_range.media_type != EVENT_STREAM for media_range in ranges):
        return False
    events, json = preference(ranges, EVENT_STREAM), preference(ranges, JSON)
    return events.quality > 0 and events >= json


async def send_events(
    send: Send,
    answers: AsyncGenerator[PurchaseAnswer | None],
    last_event_id: bytes | None,
    *,
    headers_only: bool = False,
) -> None:
    """Send what `PurchaseLookUp.follow` yields.

    A client that has the outcome already, and reconnects as browsers do, is stopped by a 204.
    """
    started = False
    retry = RETRY
    async with aclosing(answers):
        async for answer in answers:
            if not started:
                started = True
                if answer is not None and _has_outcome(answer, last_event_id):
                    await _send_no_content(send)
                    return
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if headers_only:
                break
            if answer is None:
                await _send_part(send, KEEP_ALIVE)
            else:
                await _send_part(send, retry + event(answer))
                retry = b""
    await send({"type": "http.response.body", "body": b""})


def event(answer: PurchaseAnswer) -> bytes:
    """The body is JSON without line breaks, so it is one line of data."""
    name = b"outcome" if answer.waits_seconds is None else b"position"
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name, answer.version, answer.body)


def _has_outcome(answer: PurchaseAnswer, last_event_id: bytes | None) -> bool:
    return answer.waits_seconds is None and last_event_id == answer.version


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_no_content(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": [NOT_STORED, VARY]})
    await send({"type": "http.response.body", "body": b""})
