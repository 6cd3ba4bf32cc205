"""How long a worker stays with a queue that it has emptied."""

from collections.abc import Iterator

import pytest

from purchase_worker.consumer.linger import (
    LARGE_BATCH_ROWS,
    LONGEST_PAUSE_SECONDS,
    POLLS,
    SHORTEST_PAUSE_SECONDS,
    Linger,
)
from purchase_worker.decision import BatchDecisions, Decision, Inventory, Request
from purchase_worker.drain import Batch
from purchase_worker.store import Locked, Part, Queue, QueuedRequest

REQUEST = Request("0190a6b4", 1, 1, None)
ROW = QueuedRequest(REQUEST, "25.00", "2026-11-22T12:00:00.000000Z", None)


def batch(rows: int, *, more: bool, seconds: float = 0.002) -> Batch:
    decided = BatchDecisions([Decision(REQUEST, 1, None, 0)] * rows, Inventory(0, rows), {})
    part = Part(Locked(7, Inventory(rows, 0), 1, ROW.created_at), Queue([ROW] * rows, []), decided)
    return Batch([part], ROW.created_at, queued=[7] if more else [], seconds=seconds)


class Waits:
    """Sleeps no time, and remembers how long it was to be."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def nobody_waits() -> bool:
    return False


def test_while_requests_are_queued_it_goes_on_at_once_after_a_large_batch(waits: Waits) -> None:
    assert list(Linger(nobody_waits, waits)(batch(LARGE_BATCH_ROWS, more=True))) == []
    assert waits.pauses == []


@pytest.mark.parametrize(
    ("took", "waited"),
    [
        (0.002, 0.002),
        (0.0001, SHORTEST_PAUSE_SECONDS),
        (3.0, LONGEST_PAUSE_SECONDS),
    ],
)
def test_after_a_small_batch_it_lets_others_join_as_long_as_the_batch_took(
    waits: Waits, took: float, waited: float
) -> None:
    looks = list(Linger(nobody_waits, waits)(batch(1, more=True, seconds=took)))
    assert (looks, waits.pauses) == ([], [waited])


def test_when_nothing_is_queued_it_looks_a_few_times_and_leaves(waits: Waits) -> None:
    assert len(list(Linger(nobody_waits, waits)(batch(500, more=False)))) == POLLS
    assert waits.pauses == [0.002] * POLLS


def test_a_turn_that_decided_nothing_ends_at_once(waits: Waits) -> None:
    assert list(Linger(nobody_waits, waits)(batch(0, more=False))) == []
    assert waits.pauses == []


@pytest.mark.parametrize("more", [True, False])
def test_it_never_waits_while_other_ticket_types_do(waits: Waits, more: bool) -> None:
    assert list(Linger(lambda: True, waits)(batch(1, more=more))) == []
    assert waits.pauses == []


def test_it_leaves_as_soon_as_others_begin_to_wait(waits: Waits) -> None:
    answers: Iterator[bool] = iter([False, True])
    assert len(list(Linger(lambda: next(answers), waits)(batch(1, more=False)))) == 1
