"""Which slow purchases are logged."""

import asyncio
import time
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from gateway.purchases import stages
from gateway.purchases.stages import LOGGED_MAX, SlowPurchases, Stages

pytestmark = pytest.mark.anyio


@dataclass
class Request:
    id: str
    stages: Stages | None


def answer(slow: SlowPurchases, id_: str, seconds: float) -> None:
    """A purchase that took so long is answered."""
    request = Request(id_, slow.received(f"request of {id_}"))
    slow.submitted(request)
    assert request.stages is not None
    request.stages.received_at = time.time() - seconds
    slow.answered(request)


async def test_of_many_slow_ones_the_slowest_are_logged_with_the_count_of_all() -> None:
    slow = SlowPurchases(0.5)
    with capture_logs() as lines:
        for n in range(3 * LOGGED_MAX):
            answer(slow, f"p{n}", seconds=1 + n % LOGGED_MAX)
        answer(slow, "quick", seconds=0.1)
        answer(slow, "slowest", seconds=1_000)
        assert lines == []  # none while purchases are answered
        slow.close()
    assert len(lines) == LOGGED_MAX
    assert {line["count"] for line in lines} == {3 * LOGGED_MAX + 1}
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds, reverse=True)
    assert lines[0]["purchase"] == "slowest"
    assert lines[0]["request_id"] == "request of slowest"
    # Three of each number of seconds: the upper third.
    assert seconds[-1] >= 2 / 3 * LOGGED_MAX


async def test_they_are_logged_while_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "LOG_EVERY_SECONDS", 0.01)
    slow = SlowPurchases(0.5)
    with capture_logs() as lines:
        for nth in (1, 2):
            answer(slow, f"p{nth}", seconds=1)
            async with asyncio.timeout(10):
                while len(lines) < nth:
                    await asyncio.sleep(0.001)
    assert [(line["purchase"], line["count"]) for line in lines] == [("p1", 1), ("p2", 1)]


async def test_what_ends_after_the_answer_changes_no_line() -> None:
    """A batch hung, its purchases were answered with 503, and then it was stored."""
    slow = SlowPurchases(0.5)
    request = Request("hung", slow.received(""))
    slow.submitted(request)
    assert request.stages is not None
    request.stages.received_at = time.time() - 5
    slow.answered(request)
    slow.accepted([request], time.time() + 1, time.time() + 2)
    with capture_logs() as lines:
        slow.close()
    (line,) = lines
    assert sum(line["stages"].values()) == pytest.approx(line["seconds"], abs=1e-4)
