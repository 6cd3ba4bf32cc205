"""Gathering requests into batches."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Sequence

import pytest

from gateway.batcher import Batcher
from shared.errors import NotEnoughTickets, Unavailable


def batcher(work: object, **limits: object) -> Batcher[int, int]:
    defaults = {
        "batch_rows": 10,
        "threads": 1,
        "pending_max_rows": 100,
        "stall_timeout_seconds": 10.0,
        "pending_max_seconds": 10.0,
    }
    return Batcher("test", work, **(defaults | limits))  # type: ignore[arg-type]


def run(story: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))  # type: ignore[arg-type]


class Gate:
    """Work that notes its batches, and begins only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.open.wait(20)
        return [10 * item for item in items]


def test_each_item_gets_its_own_answer_in_order() -> None:
    gate = Gate()
    gate.open.set()

    async def story() -> None:
        futures = [batches.submit(n) for n in range(25)]
        assert await asyncio.gather(*futures) == [10 * n for n in range(25)]
        await batches.close()

    batches = batcher(gate)
    run(story())
    assert [n for batch in gate.batches for n in batch] == list(range(25))
    assert max(map(len, gate.batches)) == 10


def test_what_comes_while_all_threads_work_leaves_together() -> None:
    gate = Gate()

    async def story() -> None:
        batches = batcher(gate)
        first = batches.submit(0)
        while not gate.batches:
            await asyncio.sleep(0)
        rest = [batches.submit(n) for n in range(1, 8)]
        gate.open.set()
        await asyncio.gather(first, *rest)
        await batches.close()

    run(story())
    assert gate.batches == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_an_answer_that_is_an_error_is_raised_for_its_item_alone() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [NotEnoughTickets() if item == 1 else item for item in items]

    async def story() -> None:
        batches = batcher(work)
        futures = [batches.submit(n) for n in range(3)]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(answer) for answer in answers] == [int, NotEnoughTickets, int]
        await batches.close()

    run(story())


def test_work_that_fails_fails_all_of_its_batch_and_no_later_one() -> None:
    failures = [OSError("broken")]

    def work(items: Sequence[int]) -> list[int]:
        if failures:
            raise failures.pop()
        return list(items)

    async def story() -> None:
        batches = batcher(work)
        broken = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
        assert [type(answer) for answer in broken] == [OSError, OSError]
        assert await batches.submit(3) == 3
        await batches.close()

    run(story())


def test_beyond_its_bound_it_refuses_at_once() -> None:
    gate = Gate()

    async def story() -> None:
        batches = batcher(gate, pending_max_rows=2)
        accepted = [batches.submit(n) for n in range(2)]
        with pytest.raises(Unavailable):
            batches.submit(2)
        gate.open.set()
        await asyncio.gather(*accepted)
        await batches.close()

    run(story())


def test_what_takes_too_long_is_answered_whether_it_was_sent_or_not() -> None:
    gate = Gate()

    async def story() -> None:
        batches = batcher(gate, stall_timeout_seconds=0.05, batch_rows=1)
        sent, waiting = batches.submit(1), batches.submit(2)
        for future in (sent, waiting):
            with pytest.raises(Unavailable):
                await future
        gate.open.set()
        await batches.close()

    run(story())
    # What was not sent was not done either.
    assert gate.batches == [[1]]


def test_a_long_queue_that_moves_on_is_waited_in() -> None:
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.3)
        return list(items)

    async def story() -> None:
        batches = batcher(work, stall_timeout_seconds=1.5, batch_rows=1)
        assert await asyncio.gather(*(batches.submit(n) for n in range(6))) == list(range(6))
        await batches.close()

    run(story())


def test_an_event_loop_that_was_busy_takes_nothing_for_silence() -> None:
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.3)
        return list(items)

    async def story() -> None:
        batches = batcher(work, stall_timeout_seconds=1.2, batch_rows=1)
        futures = [batches.submit(n) for n in range(5)]
        await asyncio.sleep(0)  # the first is sent
        time.sleep(2.0)  # what a rush of buyers does to the loop
        assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
        await batches.close()

    run(story())


def test_answers_that_say_nothing_do_not_move_a_queue_on() -> None:
    begun: list[int] = []
    second_may_end = threading.Event()

    def work(items: Sequence[int]) -> list[Exception]:
        begun.extend(items)
        if items == [0]:
            time.sleep(2.0)
        else:
            second_may_end.wait(20)
        return [Unavailable() for _ in items]

    async def story() -> None:
        batches = batcher(work, stall_timeout_seconds=3.0, batch_rows=1)
        asked_at = time.monotonic()
        answers = [batches.submit(n) for n in range(3)]
        await asyncio.wait([answers[2]])
        # If the first answer had counted, this would have taken two seconds longer.
        assert time.monotonic() - asked_at < 4.5
        second_may_end.set()
        refused = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(answer) for answer in refused] == [Unavailable] * 3
        await batches.close()

    run(story())
    assert begun == [0, 1]


def test_a_turn_that_does_not_come_in_time_is_not_waited_for() -> None:
    gate = Gate()

    async def story() -> None:
        batches = batcher(gate, pending_max_seconds=0.05, batch_rows=1)
        sent, waiting = batches.submit(1), batches.submit(2)
        with pytest.raises(Unavailable):
            await waiting
        gate.open.set()
        assert await sent == 10
        await batches.close()

    run(story())


def test_closing_waits_for_no_call_that_hangs() -> None:
    gate = Gate()

    async def story() -> None:
        batches = batcher(gate, stall_timeout_seconds=0.05)
        hanging = batches.submit(1)
        await batches.close()
        assert not gate.open.is_set()
        with pytest.raises(Unavailable):
            await hanging
        gate.open.set()

    run(story())


def test_closing_finishes_what_was_submitted() -> None:
    gate = Gate()
    gate.open.set()

    async def story() -> None:
        batches = batcher(gate, batch_rows=3)
        futures = [batches.submit(n) for n in range(10)]
        await batches.close()
        assert all(future.done() for future in futures)

    run(story())
