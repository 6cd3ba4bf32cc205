"""Reads server-sent events as httpx-sse does, which is the least forgiving of the known clients.

The WHATWG's rules (HTML, 9.2.6) drop an event without data. httpx-sse makes one at each blank line,
once there was an id, an event name or a `retry`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    event: str
    data: str
    id: str
    retry: int | None


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream's lines, each as soon as its blank line is there."""
    name, last_id, data, retry = "", "", list[str](), None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if name or last_id or data or retry is not None:
                yield Event(name, "\n".join(data), last_id, retry)
            name, data, retry = "", [], None
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value
        elif field == "retry":
            retry = int(value)
