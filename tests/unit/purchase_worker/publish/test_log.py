"""The lines about a decided batch."""

import json
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from purchase_worker.decision import Buy, Line, State, decide
from purchase_worker.drain import Batch
from purchase_worker.publish import log as batch_log
from purchase_worker.store import Lane, Part, Work

AT = "2026-11-22T12:00:00.000000Z"


def batch_of(requests: int, left: int) -> Batch:
    work = [
        Work(Buy(f"p{n}", n, (Line(3, 1),)), ("25.00",), "EUR", AT, f"r{n}" * 32)
        for n in range(requests)
    ]
    before = State(40, AT, {3: left})
    entries, after = decide(before, AT, [each.command for each in work])
    part = Part(
        Lane(7, 40, AT, AT, done_seq=0, extended_seconds=0, sold_out=False),
        work,
        entries,
        before,
        after,
    )
    return Batch([part], [], seconds=0.0125)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(batch_log, "logger", structlog.get_logger())
    with capture_logs() as lines:
        batch_log.log_batch(batch_of(250, left=249))
    return lines


def test_a_batch_is_reported_with_what_came_of_it(logged: list[Any]) -> None:
    first, *_ = logged
    del first["request_ids"]
    assert first == {
        "event": "batch_decided",
        "log_level": "info",
        "events": [7],
        "numbers": [[41, 290]],
        "rows": 250,
        "confirmed": 249,
        "not_enough_tickets": 1,
        "seconds": 0.0125,
    }


def test_every_request_is_named_and_no_line_is_too_long(logged: list[Any]) -> None:
    assert [line["event"] for line in logged] == ["batch_decided", *["batch_decided_continued"] * 2]
    assert [id_ for line in logged for id_ in line["request_ids"]] == [
        f"r{n}" * 32 for n in range(250)
    ]
    assert max(len(json.dumps(line)) for line in logged) < 16_384
