"""Gathers what many requests ask for into one call of a function that runs in a thread.

A batch leaves as soon as a thread is free, with all that has come in meanwhile: alone, a request
waits for nothing; in a rush, the batches grow by themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import msgspec

from shared.errors import Unavailable
from shared.logging import get_logger

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# How often overdue requests are looked for; their limit is seconds, so this is exact enough.
OVERDUE_CHECK_SECONDS = 0.25

logger = get_logger(__name__)


class _Asked(msgspec.Struct, Generic[Item, Answer]):
    item: Item
    future: asyncio.Future[Answer]
    asked_at: float


class Batcher(Generic[Item, Answer]):
    """Runs `work` on batches of items, at most `threads` at once; one future for each item.

    Args:
        name: of its threads.
        work: blocking; gives one answer for each item, in order. An answer that is an exception
            is raised for that item alone; an exception raised is raised for all.
        batch_rows: the most items of a call.
        threads: calls at the same time.
        pending_max_rows: items that may wait for a thread; beyond, `submit` refuses.
        timeout_seconds: an item without its answer by then fails with `Unavailable`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        batch_rows: int,
        threads: int,
        pending_max_rows: int,
        timeout_seconds: float,
    ) -> None:
        self._name = name
        self._work = work
        self._batch_rows = batch_rows
        self._threads_free = threads
        self._pending_max_rows = pending_max_rows
        self._timeout_seconds = timeout_seconds
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._pending: deque[_Asked[Item, Answer]] = deque()
        self._in_flight: list[list[_Asked[Item, Answer]]] = []
        self._flush_is_due = False
        self._overdue_check_is_due = False

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Put an item into the open batch.

        Raises:
            Unavailable: too many are waiting already; also from the future, when it takes too long.
        """
        if len(self._pending) >= self._pending_max_rows:
            raise Unavailable
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._pending.append(_Asked(item, future, time.monotonic()))
        if self._threads_free and not self._flush_is_due:
            # Soon, not now: whatever else is ready in this round of the loop comes along.
            self._flush_is_due = True
            loop.call_soon(self._flush)
        if not self._overdue_check_is_due:
            self._overdue_check_is_due = True
            loop.call_later(OVERDUE_CHECK_SECONDS, self._fail_overdue)
        return future

    async def close(self) -> None:
        """Finish all that was submitted; nothing may be submitted any more."""
        while self._pending or self._in_flight:
            futures = [asked.future for batch in self._in_flight for asked in batch]
            futures += [asked.future for asked in self._pending]
            await asyncio.wait(futures)
            # Overdue items are answered while their call still runs.
            await asyncio.sleep(0.01)
        self._executor.shutdown(wait=False)

    def _flush(self) -> None:
        self._flush_is_due = False
        loop = asyncio.get_running_loop()
        while self._pending and self._threads_free:
            size = min(len(self._pending), self._batch_rows)
            batch = [self._pending.popleft() for _ in range(size)]
            self._in_flight.append(batch)
            self._threads_free -= 1
            call = loop.run_in_executor(self._executor, self._work, [a.item for a in batch])
            call.add_done_callback(lambda call, batch=batch: self._finish(batch, call))  # type: ignore[misc]

    def _finish(
        self,
        batch: list[_Asked[Item, Answer]],
        call: asyncio.Future[Sequence[Answer | Exception]],
    ) -> None:
        self._in_flight.remove(batch)
        self._threads_free += 1
        error = call.exception()
        if error is not None:
            logger.error("batch_failed", batcher=self._name, rows=len(batch), exc_info=error)
            answers: Sequence[Answer | BaseException] = [error] * len(batch)
        else:
            answers = call.result()
        for asked, answer in zip(batch, answers, strict=True):
            if asked.future.done():
                continue  # overdue, or its client has left
            if isinstance(answer, BaseException):
                asked.future.set_exception(answer)
            else:
                asked.future.set_result(answer)
        self._flush()

    def _fail_overdue(self) -> None:
        self._overdue_check_is_due = False
        limit = time.monotonic() - self._timeout_seconds
        while self._pending and self._pending[0].asked_at < limit:
            _fail(self._pending.popleft())
        for batch in self._in_flight:
            if batch[0].asked_at < limit:
                for asked in batch:
                    _fail(asked)
        if self._pending or self._in_flight:
            self._overdue_check_is_due = True
            loop = asyncio.get_running_loop()
            loop.call_later(OVERDUE_CHECK_SECONDS, self._fail_overdue)


def _fail(asked: _Asked[Item, Answer]) -> None:
    if not asked.future.done():
        asked.future.set_exception(Unavailable())
