"""How long a worker keeps polling a queue that it has emptied."""

from collections.abc import Callable

import pytest

from purchase_worker.consumer.linger import (
    LARGE_BATCH_ROWS,
    LONGEST_PAUSE_SECONDS,
    POLLS,
    SHORTEST_PAUSE_SECONDS,
    Linger,
)
from purchase_worker.decision import Buy, Line, State, decide
from purchase_worker.drain import Batch
from purchase_worker.store import Lane, Part, Work

AT = "2026-11-22T12:00:00.000000Z"
WORK = Work(Buy("0190a6b4", 1, (Line(7, 1),)), ("25.00",), "EUR", AT, None)


def batch(rows: int, *, more: bool, seconds: float = 0.002) -> Batch:
    before = State(0, AT, {7: rows})
    entries, after = decide(before, AT, [WORK.command] * rows)
    part = Part(
        Lane(7, 0, AT, AT, done_seq=0, extended_seconds=0, sold_out=False),
        [WORK] * rows,
        entries,
        before,
        after,
    )
    return Batch([part], queued=[7] if more else [], seconds=seconds)


def pauses(
    batch: Batch, wakeups_wait: Callable[[], bool] = lambda: False
) -> tuple[int, list[float]]:
    """How often the queues are polled after a batch, and the pauses."""
    slept: list[float] = []
    polls = list(Linger(wakeups_wait, slept.append)(batch))
    return len(polls), slept


def test_after_a_large_batch_it_does_not_wait_while_requests_are_queued() -> None:
    assert pauses(batch(LARGE_BATCH_ROWS, more=True)) == (0, [])


@pytest.mark.parametrize(
    ("took", "waited"),
    [
        (0.002, 0.002),
        (0.0001, SHORTEST_PAUSE_SECONDS),
        (3.0, LONGEST_PAUSE_SECONDS),
    ],
)
def test_after_a_small_batch_it_waits_as_long_as_the_batch_took(took: float, waited: float) -> None:
    assert pauses(batch(1, more=True, seconds=took)) == (0, [waited])


def test_when_nothing_is_queued_it_polls_a_few_times() -> None:
    assert pauses(batch(500, more=False)) == (POLLS, [0.002] * POLLS)


def test_it_does_not_wait_after_a_batch_that_decided_nothing() -> None:
    assert pauses(batch(0, more=False)) == (0, [])


@pytest.mark.parametrize("more", [True, False])
def test_it_never_waits_while_other_events_do(more: bool) -> None:
    assert pauses(batch(1, more=more), lambda: True) == (0, [])


def test_it_stops_as_soon_as_others_begin_to_wait() -> None:
    answers = iter([False, True])
    assert pauses(batch(1, more=False), lambda: next(answers)) == (1, [0.002])
