"""Shared threads, and queues in which a flood of calls delays only its own caller."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.concurrency.bounded_executor import BoundedExecutor
from shared.errors import Unavailable
from tests.support.threads import next_thread_fails


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


def run(
    test: Callable[[BoundedExecutor, Work], Awaitable[None]],
    *,
    threads: int = 1,
    waiting_max: int = 10,
    timeout_seconds: float | None = None,
) -> None:
    async def on_a_loop() -> None:
        executor = BoundedExecutor(
            "test", threads=threads, waiting_max=waiting_max, timeout_seconds=timeout_seconds
        )
        work = Work()
        try:
            await test(executor, work)
        finally:
            work.go_on()
            executor.close()

    asyncio.run(on_a_loop())


async def asked(executor: BoundedExecutor, work: Work, callers: str) -> list["asyncio.Task[str]"]:
    """One call for each caller, in order, none of them done."""
    tasks = [asyncio.create_task(executor.run_for(caller, work, caller)) for caller in callers]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list["asyncio.Task[str]"]) -> list[str]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return ["unavailable" if isinstance(one, Unavailable) else str(one) for one in found]


def test_callers_take_turns() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        tasks = await asked(executor, work, "aaaaabbc")
        work.go_on()
        assert await outcomes(tasks) == list("aaaaabbc")
        assert work.begun == list("aabcabaa")

    run(test)


def test_a_caller_never_has_all_of_several_threads() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        late = await asked(executor, work, "aaaa")
        assert await executor.run_for("b", str) == ""
        late += await asked(executor, work, "c")
        work.go_on()
        assert await outcomes(late) == list("aaaac")

    run(test, threads=3, timeout_seconds=5.0)


def test_a_call_keeps_its_thread_after_its_timeout() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        assert await outcomes(await asked(executor, work, "aa")) == ["unavailable"] * 2
        late = await asked(executor, work, "aa")
        assert await executor.run_for("b", str) == ""
        work.go_on()
        assert await outcomes(late) == list("aa")

    run(test, threads=2, timeout_seconds=0.5)


def test_anonymous_calls_may_have_all_threads() -> None:
    async def test(executor: BoundedExecutor, _work: Work) -> None:
        together = threading.Barrier(2)
        await asyncio.gather(*(executor.run(together.wait, timeout=5) for _ in range(2)))

    run(test, threads=2)


def test_a_flood_takes_no_room_from_others() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        flood = await asked(executor, work, "a" * 1_000)
        others = await asked(executor, work, "bcd")
        work.go_on()
        assert await outcomes(others) == list("bcd")
        assert Counter(await outcomes(flood)) == {"a": 8, "unavailable": 992}

    run(test)


def test_with_equal_shares_the_new_call_is_unavailable() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        tasks = await asked(executor, work, "xaabbcdbe")
        work.go_on()
        # Of four places a had two, and b two: c and d take one of each.
        assert await outcomes(tasks) == [
            *("x", "a", "unavailable", "b", "unavailable", "c", "d", "unavailable", "unavailable")
        ]

    run(test, waiting_max=4)


def test_a_timeout_removes_a_call_from_the_queue() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        assert await outcomes(await asked(executor, work, "abcabc")) == ["unavailable"] * 6
        work.go_on()
        later = await asked(executor, work, "abcdefghij")
        assert await outcomes(later) == list("abcdefghij")
        assert work.begun == list("aabcdefghij")

    run(test, timeout_seconds=1.0)


def test_overloaded_threads_do_no_work_whose_result_is_too_late() -> None:
    async def test(executor: BoundedExecutor, _work: Work) -> None:
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

    run(test, waiting_max=300, timeout_seconds=1.5)


def test_a_cancelled_call_makes_room() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        tasks = await asked(executor, work, "abc")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tasks = await asked(executor, work, "de")
        work.go_on()
        assert await outcomes(tasks) == list("de")

    run(test, waiting_max=2)


def test_room_can_be_made_by_a_call_that_is_cancelled_at_that_moment() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        *others, cancelled = await asked(executor, work, "xaa")
        later = asyncio.create_task(executor.run_for("b", work, "b"))
        cancelled.cancel()
        await asyncio.sleep(0)
        work.go_on()
        assert await outcomes([*others, later]) == list("xab")

    run(test, waiting_max=2)


def test_an_error_goes_to_its_caller_alone() -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        work.go_on()
        with pytest.raises(ValueError, match="fails"):
            await executor.run(work, "fails")
        assert await executor.run(work, "next") == "next"

    run(test)


def test_no_more_run_at_once_than_there_are_threads() -> None:
    async def test(executor: BoundedExecutor, _work: Work) -> None:
        running = Counter[str]()
        most = []

        def count() -> None:
            running["now"] += 1
            most.append(running["now"])
            time.sleep(0.001)
            running["now"] -= 1

        await asyncio.gather(*(executor.run_for(str(n), count) for n in range(100)))
        assert max(most) <= 3

    run(test, threads=3, waiting_max=100)


def test_a_thread_that_cannot_be_started_fails_its_call_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(executor: BoundedExecutor, work: Work) -> None:
        work.go_on()
        next_thread_fails(monkeypatch, "test")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await executor.run(work, "failed")
        assert await executor.run(work, "next") == "next"
        # Python kept the other one, and has a thread now.
        assert work.begun == ["next"]

    run(test, timeout_seconds=5.0)


def test_a_waiting_call_that_cannot_be_started_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = ThreadPoolExecutor.submit
    failures = [RuntimeError("can't start new thread")]

    def submit_or_fail(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return submit(*args)

    async def test(executor: BoundedExecutor, work: Work) -> None:
        tasks = await asked(executor, work, "abc")
        monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_or_fail)
        work.go_on()
        assert await outcomes(tasks) == ["a", "can't start new thread", "c"]

    run(test, timeout_seconds=5.0)


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
