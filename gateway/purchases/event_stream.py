"""A purchase as a stream of server-sent events (WHATWG HTML, 9.2).

`position` while it is queued and moves up, `outcome` once it is decided or held, which ends it;
the data of both is the purchase as in every other response.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from starlette.types import Send

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

# Browsers send 150; reading 64 kB of them would take 9 ms.
ACCEPT_MAX_BYTES = 1_000
QUALITY = re.compile(r"(0(?:\.\d*)?|1(?:\.0*)?)")  # RFC 9110, 12.4.2, with any number of digits


class MediaRange(NamedTuple):
    """One element of `Accept`: `type/subtype`, `type/*` or `*/*`, in lower case."""

    media_type: str
    quality: float


def wants_events(accept: bytes) -> bool:
    """Whether a client that sends this `Accept` prefers events to JSON.

    It has to name them. The higher quality counts; of two that are equal, the first one.
    """
    text = accept.decode("latin-1").lower()
    if EVENT_STREAM not in text or len(text) > ACCEPT_MAX_BYTES:
        return False
    ranges = [_media_range(element) for element in text.split(",")]
    named = [media_range.media_type for media_range in ranges]
    if EVENT_STREAM not in named:
        return False
    events, json = _preference(ranges, EVENT_STREAM), _preference(ranges, JSON)
    return events.quality > 0 and events >= json


class Preference(NamedTuple):
    """Compares as the client prefers; `precedence` is higher for an earlier range."""

    quality: float
    precedence: int


def _preference(ranges: Sequence[MediaRange], media_type: str) -> Preference:
    """By the most specific range that matches (RFC 9110, 12.5.1)."""
    kind = media_type.partition("/")[0]
    for fitting in (media_type, f"{kind}/*", "*/*"):
        for place, media_range in enumerate(ranges):
            if media_range.media_type == fitting:
                return Preference(media_range.quality, -place)
    return Preference(0.0, -len(ranges))


def _media_range(element: str) -> MediaRange:
    """A range with a malformed quality counts as quality 0."""
    media_type, *parameters = (part.strip() for part in element.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            match = QUALITY.fullmatch(value.strip())
            return MediaRange(media_type, float(match[1]) if match else 0.0)
    return MediaRange(media_type, 1.0)


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
