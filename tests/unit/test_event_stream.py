"""Who is told of a purchase by events, and who by one answer."""

import pytest

from gateway.purchases.event_stream import wants_events


@pytest.mark.parametrize(
    "accept",
    [
        b"text/event-stream",
        b"text/event-stream, */*",
        b"text/event-stream;charset=utf-8",
        b"text/event-stream, application/json;q=0.9",
        b"application/json;q=0.5, text/event-stream;q=0.6",
        b"text/html, Text/Event-Stream",
    ],
)
def test_who_would_rather_have_events_gets_them(accept: bytes) -> None:
    assert wants_events(accept)


@pytest.mark.parametrize(
    "accept",
    [
        b"",
        b"*/*",
        b"application/json",
        b"application/json, text/event-stream",
        b"text/event-stream;q=0.5, */*",
        b"text/event-stream;q=0",
        b"text/event-stream; q=0.000, text/html",
        b"text/event-streams",
    ],
)
def test_everyone_else_gets_json(accept: bytes) -> None:
    assert not wants_events(accept)
