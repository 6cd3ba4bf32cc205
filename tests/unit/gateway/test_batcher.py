"""Gathering requests into batches."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from structlog.testing import capture_logs

from gateway.batcher import Batcher
from shared.errors import NotEnoughTickets, Unavailable
from tests.support.threads import next_thread_fails

pytestmark = pytest.mark.anyio
MakeBatcher = Callable[..., Batcher[int, int]]


@pytest.fixture
async def batcher() -> AsyncIterator[MakeBatcher]:
    made: list[Batcher[int, int]] = []

    def make(work: object, **limits: object) -> Batcher[int, int]:
        defaults = {
            "batch_rows": 10,
            "threads": 1,
            "pending_max_rows": 100,
            "stall_timeout_seconds": 10.0,
            "pending_max_seconds": 10.0,
        }
        made.append(Batcher("test", work, **(defaults | limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        await each.close()


class Gate:
    """Records its batches, and waits until it is `open`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.open.wait(20)
        return [10 * item for item in items]

    async def has_batches(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.batches) < count:
                await asyncio.sleep(0.001)


async def test_each_item_gets_its_own_answer_in_order(batcher: MakeBatcher) -> None:
    gate = Gate()
    gate.open.set()
    batches = batcher(gate)
    futures = [batches.submit(n) for n in range(25)]
    assert await asyncio.gather(*futures) == [10 * n for n in range(25)]
    assert [n for batch in gate.batches for n in batch] == list(range(25))
    assert max(map(len, gate.batches)) == 10


async def test_items_that_come_while_all_threads_work_are_one_batch(batcher: MakeBatcher) -> None:
    gate = Gate()
    batches = batcher(gate)
    first = batches.submit(0)
    while not gate.batches:
        await asyncio.sleep(0)
    rest = [batches.submit(n) for n in range(1, 8)]
    gate.open.set()
    await asyncio.gather(first, *rest)
    assert gate.batches == [[0], [1, 2, 3, 4, 5, 6, 7]]


async def test_beside_a_batch_in_progress_another_is_begun_when_it_is_as_large(
    batcher: MakeBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.batcher.SLOW_SECONDS", 60.0)
    gate = Gate()
    batches = batcher(gate, threads=2)
    futures = [batches.submit(n) for n in range(3)]
    await gate.has_batches(1)
    for n in (3, 4):
        futures.append(batches.submit(n))
        await asyncio.sleep(0)
    assert gate.batches == [[0, 1, 2]]
    futures.append(batches.submit(5))
    await gate.has_batches(2)
    gate.open.set()
    await asyncio.gather(*futures)
    assert gate.batches == [[0, 1, 2], [3, 4, 5]]


async def test_a_slow_batch_holds_up_no_other(batcher: MakeBatcher) -> None:
    gate = Gate()
    batches = batcher(gate, threads=2)
    futures = [batches.submit(n) for n in range(3)]
    await gate.has_batches(1)
    futures.append(batches.submit(3))
    await gate.has_batches(2)
    gate.open.set()
    await asyncio.gather(*futures)
    assert gate.batches == [[0, 1, 2], [3]]


async def test_a_slow_batch_that_took_the_last_thread_holds_up_no_other(
    batcher: MakeBatcher,
) -> None:
    quick, slow = Gate(), Gate()
    batches = batcher(lambda items: (quick if 0 in items else slow)(items), threads=2)
    first = batches.submit(0)
    await quick.has_batches(1)
    others = [batches.submit(n) for n in (1, 2, 3)]
    await slow.has_batches(1)
    quick.open.set()
    await first
    others.append(batches.submit(4))
    await slow.has_batches(2)
    slow.open.set()
    await asyncio.gather(*others)
    assert slow.batches == [[1, 2, 3], [4]]


async def test_an_answer_that_is_an_error_is_raised_for_its_item_alone(
    batcher: MakeBatcher,
) -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [NotEnoughTickets() if item == 1 else item for item in items]

    batches = batcher(work)
    futures = [batches.submit(n) for n in range(3)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, NotEnoughTickets, int]


async def test_work_that_fails_fails_all_of_its_batch_and_no_later_one(
    batcher: MakeBatcher,
) -> None:
    failures = [OSError("broken")]

    def work(items: Sequence[int]) -> list[int]:
        if failures:
            raise failures.pop()
        return list(items)

    batches = batcher(work)
    broken = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
    assert [type(answer) for answer in broken] == [OSError, OSError]
    assert await batches.submit(3) == 3


async def test_a_batch_that_is_unavailable_is_no_unexpected_error(
    batcher: MakeBatcher,
) -> None:
    def work(items: Sequence[int]) -> list[int]:
        raise Unavailable

    batches = batcher(work)
    with capture_logs() as lines:
        refused = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
    assert [type(answer) for answer in refused] == [Unavailable] * 2
    assert lines == []


async def test_a_thread_that_cannot_be_started_fails_its_batch_alone(
    batcher: MakeBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_thread_fails(monkeypatch, "test")
    gate = Gate()
    gate.open.set()
    batches = batcher(gate)
    failed = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
    assert [type(each) for each in failed] == [RuntimeError, RuntimeError]
    assert await batches.submit(3) == 30
    # Python kept the other one, and has a thread now.
    assert gate.batches == [[3]]


async def test_beyond_the_limit_an_item_fails_at_once(batcher: MakeBatcher) -> None:
    gate = Gate()
    batches = batcher(gate, pending_max_rows=2)
    accepted = [batches.submit(n) for n in range(2)]
    with pytest.raises(Unavailable):
        batches.submit(2)
    gate.open.set()
    await asyncio.gather(*accepted)


async def test_items_that_take_too_long_fail_whether_they_were_sent_or_not(
    batcher: MakeBatcher,
) -> None:
    gate = Gate()
    batches = batcher(gate, stall_timeout_seconds=0.05, batch_rows=1)
    sent, waiting = batches.submit(1), batches.submit(2)
    for future in (sent, waiting):
        with pytest.raises(Unavailable):
            await future
    gate.open.set()
    await batches.close()
    # The other item was never worked on.
    assert gate.batches == [[1]]


async def test_a_long_queue_that_moves_is_waited_in(batcher: MakeBatcher) -> None:
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.3)
        return list(items)

    batches = batcher(work, stall_timeout_seconds=1.5, batch_rows=1)
    assert await asyncio.gather(*(batches.submit(n) for n in range(6))) == list(range(6))


async def test_a_busy_event_loop_is_not_a_stall(batcher: MakeBatcher) -> None:
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.3)
        return list(items)

    batches = batcher(work, stall_timeout_seconds=1.2, batch_rows=1)
    futures = [batches.submit(n) for n in range(5)]
    await asyncio.sleep(0)  # the first is sent
    time.sleep(2.0)  # what a rush of buyers does to the loop
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]


async def test_unavailable_answers_do_not_end_a_stall(batcher: MakeBatcher) -> None:
    begun: list[int] = []
    second_may_end = threading.Event()

    def work(items: Sequence[int]) -> list[Exception]:
        begun.extend(items)
        if items == [0]:
            time.sleep(2.0)
        else:
            second_may_end.wait(20)
        return [Unavailable() for _ in items]

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
    assert begun == [0, 1]


async def test_an_item_that_is_not_sent_in_time_fails(batcher: MakeBatcher) -> None:
    gate = Gate()
    batches = batcher(gate, pending_max_seconds=0.05, batch_rows=1)
    sent, waiting = batches.submit(1), batches.submit(2)
    with pytest.raises(Unavailable):
        await waiting
    gate.open.set()
    assert await sent == 10


async def test_closing_does_not_wait_for_a_stalled_call(batcher: MakeBatcher) -> None:
    gate = Gate()
    batches = batcher(gate, stall_timeout_seconds=0.05)
    hanging = batches.submit(1)
    async with asyncio.timeout(10):
        await batches.close()
    assert not gate.open.is_set()
    with pytest.raises(Unavailable):
        await hanging
    gate.open.set()


async def test_closing_finishes_what_was_submitted(batcher: MakeBatcher) -> None:
    gate = Gate()
    gate.open.set()
    batches = batcher(gate, batch_rows=3)
    futures = [batches.submit(n) for n in range(10)]
    async with asyncio.timeout(10):
        await batches.close()
    assert all(future.done() for future in futures)
