"""Gathers items of many requests into one call of a function that runs in a thread.

A batch is sent as soon as a thread is free, with all items that came meanwhile: a single request
does not wait, and under load the batches grow. Beside a batch in progress another is begun when it
is as large: half as many calls of twice the size cost the database half as much for each call.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import msgspec

from shared.errors import Unavailable
from shared.observability.logging import get_logger

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# A batch that takes longer holds up no other.
SLOW_SECONDS = 0.01
# Between checks for overdue items, whose limits are seconds.
OVERDUE_CHECK_SECONDS = 0.05

logger = get_logger(__name__)


class _Asked(msgspec.Struct, Generic[Item, Answer], eq=False):
    item: Item
    future: asyncio.Future[Answer]
    asked_at: float


class _Batch(msgspec.Struct, Generic[Item, Answer], eq=False):
    """A batch in progress. `is_answered`: set by its thread before the event loop notices; or by
    the event loop, where no thread could be started.

    `is_slow`: the next one does not wait for it.
    """

    batch: list[_Asked[Item, Answer]]
    started_at: float
    is_answered: bool = False
    is_slow: bool = False


class Batcher(Generic[Item, Answer]):
    """Runs `work` on batches of items, at most `threads` at once; one future for each item.

    Args:
        name: of its threads.
        work: blocking; returns one answer for each item, in order. An answer that is an exception
            is raised for that item alone; an exception raised is raised for all, and logged unless
            it is `Unavailable`.
        batch_rows: the most items of a call.
        threads: calls at the same time.
        pending_max_rows: items that may wait for a thread; beyond, `submit` raises.
        stall_timeout_seconds: without any answer. Then the items in progress, and those that have
            waited as long, fail with `Unavailable`.
        pending_max_seconds: how long an item waits while others are answered.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        batch_rows: int,
        threads: int,
        pending_max_rows: int,
        stall_timeout_seconds: float,
        pending_max_seconds: float,
    ) -> None:
        self._name = name
        self._work = work
        self._batch_rows = batch_rows
        self._threads_free = threads
        self._pending_max_rows = pending_max_rows
        self._stall_timeout_seconds = stall_timeout_seconds
        self._pending_max_seconds = pending_max_seconds
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._pending: deque[_Asked[Item, Answer]] = deque()
        self._in_flight: list[_Batch[Item, Answer]] = []
        # Since when the work has given no answer although it had items; and whether the last call
        # gave one. Written by its thread: a busy event loop must not take its own lateness for a
        # stall.
        self._stalled_since = float("-inf")
        self._works = True
        self._flush_is_due = False
        self._overdue_check_is_due = False

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Put an item into the open batch.

        Raises:
            Unavailable: too many wait already; also from the future, when it takes too long.
        """
        if len(self._pending) >= self._pending_max_rows:
            raise Unavailable
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._pending.append(_Asked(item, future, time.monotonic()))
        if self._threads_free and not self._flush_is_due:
            # Soon, not now: requests that are ready in this round of the loop join the batch.
            self._flush_is_due = True
            loop.call_soon(self._flush)
        if not self._overdue_check_is_due:
            self._overdue_check_is_due = True
            loop.call_later(OVERDUE_CHECK_SECONDS, self._fail_overdue)
        return future

    async def close(self) -> None:
        """Finish all items; none may be submitted any more.

        A stalled call is not waited for: its items have failed.
        """
        while self._pending or not all(map(self._hangs, self._in_flight)):
            await asyncio.sleep(OVERDUE_CHECK_SECONDS)
        self._executor.shutdown(wait=False)

    def _flush(self) -> None:
        self._flush_is_due = False
        loop = asyncio.get_running_loop()
        while self._pending and self._threads_free and not self._waits_for_more():
            size = min(len(self._pending), self._batch_rows)
            batch = [self._pending.popleft() for _ in range(size)]
            call = _Batch(batch, time.monotonic())
            if self._works and all(other.is_answered for other in self._in_flight):
                self._stalled_since = call.started_at  # until now it was idle
            try:
                work = loop.run_in_executor(self._executor, self._run, call)
            except RuntimeError as error:  # "can't start new thread": the system has no more
                call.is_answered = True
                self._answer(batch, error)
                continue
            self._in_flight.append(call)
            self._threads_free -= 1
            loop.call_later(SLOW_SECONDS, self._pass, call)
            work.add_done_callback(lambda work, call=call: self._finish(call, work))  # type: ignore[misc]

    def _waits_for_more(self) -> bool:
        """Whether the next batch grows on while another one is in progress."""
        if not self._in_flight:
            return False
        newest = self._in_flight[-1]
        return not newest.is_slow and len(self._pending) < len(newest.batch)

    def _pass(self, slow: _Batch[Item, Answer]) -> None:
        slow.is_slow = True
        self._flush()

    def _run(self, call: _Batch[Item, Answer]) -> Sequence[Answer | Exception]:
        """In a thread. Python keeps a batch for which it could start none, and runs it later."""
        if call.is_answered:
            return []
        answers: Sequence[Answer | Exception]
        try:
            answers = self._work([asked.item for asked in call.batch])
        except Unavailable as error:
            answers = [error] * len(call.batch)
        finally:
            call.is_answered = True
        self._works = not all(isinstance(answer, Unavailable) for answer in answers)
        if self._works:
            self._stalled_since = time.monotonic()
        return answers

    def _finish(
        self, call: _Batch[Item, Answer], work: asyncio.Future[Sequence[Answer | Exception]]
    ) -> None:
        self._in_flight.remove(call)
        self._threads_free += 1
        error = work.exception()
        self._answer(call.batch, work.result() if error is None else error)
        self._flush()

    def _answer(
        self,
        batch: list[_Asked[Item, Answer]],
        answers: Sequence[Answer | BaseException] | BaseException,
    ) -> None:
        if isinstance(answers, BaseException):
            logger.error("batch_failed", batcher=self._name, rows=len(batch), exc_info=answers)
            answers = [answers] * len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            if asked.future.done():
                continue  # overdue, or its client has disconnected
            if isinstance(answer, BaseException):
                asked.future.set_exception(answer)
            else:
                asked.future.set_result(answer)

    def _fail_overdue(self) -> None:
        self._overdue_check_is_due = False
        unanswered = [call for call in self._in_flight if not call.is_answered]
        all_threads_wait = not self._threads_free and len(unanswered) == len(self._in_flight)
        in_time = time.monotonic() - self._pending_max_seconds
        failed = 0
        while self._pending and (
            (all_threads_wait and self._is_overdue(self._pending[0]))
            or self._pending[0].asked_at < in_time
        ):
            failed += _fail(self._pending.popleft())
        for call in unanswered:
            hangs = self._hangs(call)
            for asked in call.batch:  # in the order in which they were asked
                if not hangs and not self._is_overdue(asked):
                    break
                failed += _fail(asked)
        if failed:
            logger.warning("batch_stalled", batcher=self._name, rows=failed)
        if self._pending or self._in_flight:
            self._overdue_check_is_due = True
            loop = asyncio.get_running_loop()
            loop.call_later(OVERDUE_CHECK_SECONDS, self._fail_overdue)

    def _hangs(self, call: _Batch[Item, Answer]) -> bool:
        waited_seconds = time.monotonic() - call.started_at
        return not call.is_answered and waited_seconds > self._stall_timeout_seconds

    def _is_overdue(self, asked: _Asked[Item, Answer]) -> bool:
        """Not while a long queue moves: a client that retries would be the last of it."""
        since = max(asked.asked_at, self._stalled_since)
        return time.monotonic() - since > self._stall_timeout_seconds


def _fail(asked: _Asked[Item, Answer]) -> bool:
    """Returns whether it was still waited for."""
    if asked.future.done():
        return False
    asked.future.set_exception(Unavailable())
    return True
