"""A purchase as a stream of server-sent events (WHATWG HTML, 9.2).

`position` while it is queued and moves up, `outcome` once it is decided, which ends the stream;
the data of both is the purchase as every other answer shows it.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Send

from gateway.purchases.service import Answer

EVENT_STREAM = b"text/event-stream"
JSON_RANGES = (b"application/json", b"application/*", b"*/*")
HEADERS = [
    (b"content-type", EVENT_STREAM),
    (b"cache-control", b"no-store"),
    (b"vary", b"Authorization, Accept"),
    # nginx would hold events back until its buffer is full.
    (b"x-accel-buffering", b"no"),
]
# A browser that lost the stream, or met a gateway that stops, comes back after this long.
RETRY = b"retry: 1000\n\n"
# A comment: it keeps the connection alive, and tells us when the client is gone.
NOTHING_NEW = b":\n\n"

QUALITY = re.compile(rb";\s*q=([01](?:\.\d{0,3})?)\s*$")  # RFC 9110, 12.4.2


def wants_events(accept: bytes) -> bool:
    """Whether a client that sends this `Accept` would rather have events than JSON.

    What it gives the higher quality counts; of two that are equal, what it names first.
    """
    accept = accept.lower()
    if EVENT_STREAM not in accept:
        return False
    for media_range in sorted(accept.split(b","), key=_quality, reverse=True):
        media_type = media_range.partition(b";")[0].strip()
        if media_type in (EVENT_STREAM, *JSON_RANGES) and _quality(media_range):
            return media_type == EVENT_STREAM
    return False


def _quality(media_range: bytes) -> float:
    match = QUALITY.search(media_range)
    return float(match[1]) if match else 1.0


async def send_events(
    send: Send, answers: AsyncGenerator[Answer | None], last_event_id: bytes | None
) -> None:
    """Send what `PurchaseService.follow` tells, until it ends.

    A client that has the outcome already, and only reconnects as browsers do, is told to stop by
    a 204.
    """
    started = False
    async with aclosing(answers):
        async for answer in answers:
            if not started:
                started = True
                if answer is not None and _has_outcome(answer, last_event_id):
                    await _send_no_content(send)
                    return
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                await _send_part(send, RETRY)
            await _send_part(send, NOTHING_NEW if answer is None else event(answer))
    await send({"type": "http.response.body", "body": b""})


def event(answer: Answer) -> bytes:
    """One event; the body is JSON without line breaks, so it is one line of data."""
    name = b"outcome" if answer.waits_seconds is None else b"position"
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name, answer.version, answer.body)


def _has_outcome(answer: Answer, last_event_id: bytes | None) -> bool:
    return answer.waits_seconds is None and last_event_id == answer.version


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_no_content(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
