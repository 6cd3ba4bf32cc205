"""The lines about a decided batch."""

import json
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from purchase_worker.decision import Inventory, Request, decide
from purchase_worker.drain import Batch
from purchase_worker.publish import log as batch_log
from purchase_worker.store import Locked, Part, Queue, QueuedRequest


def batch_of(requests: int, left: int) -> Batch:
    rows = [
        QueuedRequest(Request(f"p{n}", n, 1, None), "25.00", "2026-11-22T12:00:00Z", f"r{n}" * 32)
        for n in range(requests)
    ]
    inventory = Inventory(left, 40)
    decided = decide(inventory, {}, (row.request for row in rows))
    part = Part(Locked(7, inventory, 1, ""), Queue(rows, []), decided)
    return Batch([part], "", [], seconds=0.0125)


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
        "ticket_types": [7],
        "decision_numbers": [[41, 290]],
        "left": [0],
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
