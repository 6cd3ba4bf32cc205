"""Shared threads, and queues in which a flood of calls delays only its own caller."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from shared.concurrency.bounded_executor import BoundedExecutor
from shared.errors import Unavailable
from tests.support.threads import next_thread_fails

pytestmark = pytest.mark.anyio
MakeExecutor = Callable[..., BoundedExecutor]


class Work:
    """Holds its threads until it is let go, and notes in which order it was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._go_on = threading.Event()

    def __call__(self, name: str) -> str:
        self._go_on.wait(timeout=60)
        self.begun.append(name)
        if name == "fails":
            raise ValueError(name)
        return name

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def make(work: Work) -> Iterator[MakeExecutor]:
    with ExitStack() as stack:

        def make(threads: int = 1, waiting_max: int = 10, **limits: float) -> BoundedExecutor:
            executor = BoundedExecutor("test", threads=threads, waiting_max=waiting_max, **limits)
            stack.callback(executor.close)
            return executor

        yield make
        work.go_on()


async def asked(executor: BoundedExecutor, work: Work, callers: str) -> list["asyncio.Task[str]"]:
    """One call for each caller, in order, none of them done."""
    tasks = [asyncio.create_task(executor.run_for(caller, work, caller)) for caller in callers]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list["asyncio.Task[str]"]) -> list[str]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return ["unavailable" if isinstance(one, Unavailable) else str(one) for one in found]


async def test_callers_take_turns(make: MakeExecutor, work: Work) -> None:
    executor = make()
    tasks = await asked(executor, work, "aaaaabbc")
    work.go_on()
    assert await outcomes(tasks) == list("aaaaabbc")
    assert work.begun == list("aabcabaa")


async def test_a_caller_never_has_all_of_several_threads(make: MakeExecutor, work: Work) -> None:
    executor = make(threads=3, timeout_seconds=5.0)
    late = await asked(executor, work, "aaaa")
    assert await executor.run_for("b", str) == ""
    late += await asked(executor, work, "c")
    work.go_on()
    assert await outcomes(late) == list("aaaac")


async def test_a_call_keeps_its_thread_after_its_timeout(make: MakeExecutor, work: Work) -> None:
    executor = make(threads=2, timeout_seconds=0.5)
    assert await outcomes(await asked(executor, work, "aa")) == ["unavailable"] * 2
    late = await asked(executor, work, "aa")
    assert await executor.run_for("b", str) == ""
    work.go_on()
    assert await outcomes(late) == list("aa")


async def test_anonymous_calls_may_have_all_threads(make: MakeExecutor) -> None:
    executor = make(threads=2)
    together = threading.Barrier(2)
    await asyncio.gather(*(executor.run(together.wait, timeout=5) for _ in range(2)))


async def test_a_flood_takes_no_room_from_others(make: MakeExecutor, work: Work) -> None:
    executor = make()
    flood = await asked(executor, work, "a" * 1_000)
    others = await asked(executor, work, "bcd")
    work.go_on()
    assert await outcomes(others) == list("bcd")
    assert Counter(await outcomes(flood)) == {"a": 8, "unavailable": 992}


async def test_with_equal_shares_the_new_call_is_unavailable(
    make: MakeExecutor, work: Work
) -> None:
    executor = make(waiting_max=4)
    tasks = await asked(executor, work, "xaabbcdbe")
    work.go_on()
    # Of four places a had two, and b two: c and d take one of each.
    assert await outcomes(tasks) == [
        *("x", "a", "unavailable", "b", "unavailable", "c", "d", "unavailable", "unavailable")
    ]


async def test_a_timeout_removes_a_call_from_the_queue(make: MakeExecutor, work: Work) -> None:
    executor = make(timeout_seconds=1.0)
    assert await outcomes(await asked(executor, work, "abcabc")) == ["unavailable"] * 6
    work.go_on()
    later = await asked(executor, work, "abcdefghij")
    assert await outcomes(later) == list("abcdefghij")
    assert work.begun == list("aabcdefghij")


async def test_overloaded_threads_do_no_work_whose_result_is_too_late(make: MakeExecutor) -> None:
    executor = make(waiting_max=300, timeout_seconds=1.5)
    done: list[str] = []

    def work(name: str) -> str:
        time.sleep(0.01)
        done.append(name)
        return name

    names = [str(n) for n in range(300)]
    found = await outcomes(
        [asyncio.create_task(executor.run_for(name, work, name)) for name in names]
    )
    await executor.run(str)  # after whatever still has the thread
    assert 0 < len(done) < len(names)
    assert done == [result for result in found if result != "unavailable"]


async def test_a_cancelled_call_makes_room(make: MakeExecutor, work: Work) -> None:
    executor = make(waiting_max=2)
    tasks = await asked(executor, work, "abc")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks = await asked(executor, work, "de")
    work.go_on()
    assert await outcomes(tasks) == list("de")


async def test_room_can_be_made_by_a_call_that_is_cancelled_at_that_moment(
    make: MakeExecutor, work: Work
) -> None:
    executor = make(waiting_max=2)
    *others, cancelled = await asked(executor, work, "xaa")
    later = asyncio.create_task(executor.run_for("b", work, "b"))
    cancelled.cancel()
    await asyncio.sleep(0)
    work.go_on()
    assert await outcomes([*others, later]) == list("xab")


async def test_an_error_goes_to_its_caller_alone(make: MakeExecutor, work: Work) -> None:
    executor = make()
    work.go_on()
    with pytest.raises(ValueError, match="fails"):
        await executor.run(work, "fails")
    assert await executor.run(work, "next") == "next"


async def test_no_more_run_at_once_than_there_are_threads(make: MakeExecutor) -> None:
    executor = make(threads=3, waiting_max=100)
    running = Counter[str]()
    most = []

    def count() -> None:
        running["now"] += 1
        most.append(running["now"])
        time.sleep(0.001)
        running["now"] -= 1

    await asyncio.gather(*(executor.run_for(str(n), count) for n in range(100)))
    assert max(most) <= 3


async def test_a_thread_that_cannot_be_started_fails_its_call_alone(
    make: MakeExecutor, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make(timeout_seconds=5.0)
    work.go_on()
    next_thread_fails(monkeypatch, "test")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await executor.run(work, "failed")
    assert await executor.run(work, "next") == "next"
    # Python kept the other one, and has a thread now.
    assert work.begun == ["next"]


async def test_a_waiting_call_that_cannot_be_started_fails_alone(
    make: MakeExecutor, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ThreadPoolExecutor.submit
    failures = [RuntimeError("can't start new thread")]

    def submit_or_fail(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return submit(*args)

    executor = make(timeout_seconds=5.0)
    tasks = await asked(executor, work, "abc")
    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_or_fail)
    work.go_on()
    assert await outcomes(tasks) == ["a", "can't start new thread", "c"]


def test_closing_waits_for_no_call_and_its_later_end_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads: list[threading.Thread] = []
    aborted = threading.Event()

    def hang() -> None:
        threads.append(threading.current_thread())
        aborted.wait(timeout=10)
        raise OSError("aborted")

    async def close_while_it_hangs() -> None:
        executor = BoundedExecutor("test", threads=1, waiting_max=1)
        call = asyncio.create_task(executor.run(hang))
        while not threads:
            await asyncio.sleep(0.001)
        executor.close()
        call.cancel()

    asyncio.run(close_while_it_hangs())
    assert threads[0].is_alive()
    aborted.set()
    threads[0].join()
    assert not caplog.records
