"""Who gets events of a purchase and who one answer, and how events are written."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from gateway.purchases.event_stream import send_events, wants_events
from gateway.purchases.look_up import PurchaseAnswer
from tests.support.event_streams import events_of


@pytest.mark.parametrize(
    "accept",
    [
        b"text/event-stream",
        b"text/event-stream, */*",
        b"text/event-stream;charset=utf-8",
        b"text/event-stream, application/json;q=0.9",
        b"application/json;q=0.5, text/event-stream;q=0.6",
        b"text/html, Text/Event-Stream",
        b"text/event-stream;q=0.001",
        b"text/event-stream ; Q=1.000 , application/json;q=0.999",
        b"text/event-stream;q=0.5;v=1, application/json;q=0.4",
        b"text/event-stream;q=0.5, */*;q=0.1",
        # The most specific range counts (RFC 9110, 12.5.1).
        b"*/*;q=0.9, text/event-stream, application/json;q=0.1",
        b"application/json;q=0, */*, text/event-stream;q=0.2",
        b"text/*;q=0, text/event-stream;q=0.2",
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
        b"x-text/event-stream",
        b"text/event-stream;q=0.0000",
        b"text/event-stream;q=0.",
        b"text/event-stream;q=0;v=1",
        b"text/event-stream; q = 0",
        b"text/event-stream;q=0, */*",
        b"text/event-stream;q=0, text/*",
        b"*/*, text/event-stream;q=0",
        b"text/event-stream;q=0.5;v=1, */*",
        b"text/event-stream;q=0.5, application/*;q=0.6",
        b"text/event-stream;q=0.9, */*;q=0.1, application/json",
        # A quality that is none: as good as not named.
        b"text/event-stream;q=-1",
        b"text/event-stream;q=2",
        b"text/event-stream;q=1.5",
        b"text/event-stream;q=",
        b"text/event-stream;q=nan",
        b"text/event-stream;q=0.5x, application/json;q=0.1",
        b"text/*",
        b"\xff, ;;q=1,,",
        b"text/event-stream" + b";" * 1_000,
    ],
)
def test_everyone_else_gets_json(accept: bytes) -> None:
    assert not wants_events(accept)


POSITION = PurchaseAnswer(id="1", body=b'{"position":1}', waits_seconds=1.0)
OUTCOME = PurchaseAnswer(id="1", body=b'{"status":"confirmed"}', waits_seconds=None)


def stream_of(*answers: PurchaseAnswer | None, last_event_id: bytes | None = None) -> list[Message]:
    sent: list[Message] = []

    async def follow() -> AsyncGenerator[PurchaseAnswer | None]:
        for answer in answers:
            yield answer

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(send_events(send, follow(), last_event_id))
    return sent


@pytest.mark.parametrize(
    "answers",
    [
        [OUTCOME],
        [POSITION, OUTCOME],
        [POSITION, None, None, OUTCOME],
        [None, POSITION, None, POSITION, None],
        [None],
    ],
)
def test_a_stream_is_its_events_and_nothing_else(answers: list[PurchaseAnswer | None]) -> None:
    parts = [message.get("body", b"") for message in stream_of(*answers)]
    events = list(events_of(b"".join(parts).decode().splitlines()))
    reported = [answer for answer in answers if answer is not None]
    assert [event.data for event in events] == [answer.body.decode() for answer in reported]
    assert [event.id for event in events] == [answer.version.decode() for answer in reported]
    assert [event.retry for event in events] == [1000, None][: len(reported)]
    # Something is sent each time, so that a client that is gone is found out.
    assert len([part for part in parts if part]) == len(answers)


def test_who_has_the_outcome_is_not_told_again() -> None:
    start, body = stream_of(OUTCOME, last_event_id=OUTCOME.version)
    assert (start["status"], body["body"]) == (204, b"")
    assert stream_of(OUTCOME, last_event_id=POSITION.version)[0]["status"] == 200
    assert stream_of(POSITION, last_event_id=POSITION.version)[0]["status"] == 200
