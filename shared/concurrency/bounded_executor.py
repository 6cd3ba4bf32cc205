"""A few threads with a bounded queue of calls, fair between callers."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from typing import Any, ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

# Of its timeout a call may wait so much for a thread; the rest is left for its work.
WAIT_SHARE = 2 / 3


@dataclass(slots=True, eq=False)
class _QueuedCall:
    """A call, and the future of its result."""

    caller: str
    work: Callable[[], Any]
    result: asyncio.Future[Any]
    starts_by: float  # by the monotonic clock
    waits: bool = False


class BoundedExecutor:
    """Runs blocking functions in threads, off the event loop.

    Each caller has a queue, and free threads take from the queues in turn: a flood of calls delays
    only its own caller. A call keeps its thread until it ends, also after its timeout: of two or
    more threads no caller ever has all. When the queues are full, the caller with the longest one
    loses its last call. A call that has waited for two thirds of its timeout is not started: when
    more comes in than the threads can do, they would only do work whose result is too late.

    Args:
        name: of its threads.
        threads: concurrent calls.
        waiting_max: calls that may wait for a thread.
        timeout_seconds: of a call, with its wait; None: no limit.
    """

    def __init__(
        self, name: str, *, threads: int, waiting_max: int, timeout_seconds: float | None = None
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._wait_max_seconds = inf if timeout_seconds is None else WAIT_SHARE * timeout_seconds
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads
        self._of_caller_max = max(1, threads - 1)
        self._running: list[str] = []  # their callers
        self._waiting_max = waiting_max
        self._waiting = 0
        # In the order of their turns.
        self._queues: OrderedDict[str, deque[_QueuedCall]] = OrderedDict()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run_for` the anonymous caller, which all such calls share; it may have all threads."""
        return await self.run_for("", function, *args, **kwargs)

    async def run_for(
        self, caller: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the function in a thread and return its result.

        Args:
            caller: whose queue it waits in, such as an address or a user's id.
            function: may block.
            args: of the function.
            kwargs: of the function.

        Raises:
            Unavailable: too many calls are waiting, or a timeout. A call that is running by then
                goes on, and its result is dropped.
        """
        # The context carries the request id into the thread's log lines.
        context = copy_context()
        call = _QueuedCall(
            caller,
            lambda: context.run(function, *args, **kwargs),
            asyncio.get_running_loop().create_future(),
            time.monotonic() + self._wait_max_seconds,
        )
        if self._may_start(caller):
            self._start(call)
        else:
            self._queue(call)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                result: T = await call.result
                return result
        except TimeoutError as error:
            raise Unavailable from error
        finally:
            self._forget(call)

    def close(self) -> None:
        """Drop waiting calls. Running ones end by themselves, and Python exits after them."""
        for queue in self._queues.values():
            for call in queue:
                call.waits = False
                call.result.cancel()
        self._queues.clear()
        self._waiting = 0
        # A call that waits for the database without end gets an error only later: `abort_all`.
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _may_start(self, caller: str) -> bool:
        of_caller = self._running.count(caller) if caller else 0
        return len(self._running) < self._threads and of_caller < self._of_caller_max

    def _queue(self, call: _QueuedCall) -> None:
        if self._waiting >= self._waiting_max:
            self._make_room(call.caller)
        self._queues.setdefault(call.caller, deque()).append(call)
        call.waits = True
        self._waiting += 1

    def _make_room(self, caller: str) -> None:
        """Drop the last call of the longest queue.

        Raises:
            Unavailable: the longest queue is this caller's.
        """
        error = Unavailable("Too many requests of this kind are waiting; try again shortly.")
        own = len(self._queues.get(caller, ()))
        if own * len(self._queues) >= self._waiting:
            raise error  # not below the average: no need to search for a longer one
        longest = max(self._queues, key=lambda name: len(self._queues[name]))
        if len(self._queues[longest]) <= own + 1:
            raise error
        last = self._queues[longest][-1]
        self._forget(last)
        if not last.result.done():  # its caller left at this moment
            last.result.set_exception(error)

    def _forget(self, call: _QueuedCall) -> None:
        if not call.waits:
            return
        call.waits = False
        self._waiting -= 1
        queue = self._queues[call.caller]
        queue.remove(call)
        if not queue:
            del self._queues[call.caller]

    def _start(self, call: _QueuedCall) -> None:
        try:
            done = asyncio.wrap_future(self._executor.submit(_run, call))
        except RuntimeError as error:  # "can't start new thread": the system has no more
            call.result.set_exception(error)
            return
        self._running.append(call.caller)
        done.add_done_callback(lambda done: self._finish(call, done))

    def _finish(self, call: _QueuedCall, done: asyncio.Future[Any]) -> None:
        self._running.remove(call.caller)
        # Retrieved also if nothing waits for it, or asyncio logs an unretrieved error.
        error = None if done.cancelled() else done.exception()
        if call.result.done():
            pass
        elif done.cancelled():
            call.result.cancel()
        elif error is not None:
            call.result.set_exception(error)
        else:
            call.result.set_result(done.result())
        self._start_next()

    def _start_next(self) -> None:
        while self._queues and len(self._running) < self._threads:
            caller = next(filter(self._may_start, self._queues), None)
            if caller is None:
                return
            queue = self._queues.pop(caller)
            call = queue.popleft()
            call.waits = False
            self._waiting -= 1
            if queue:
                self._queues[caller] = queue  # at the end: the others come first
            if call.result.done():
                continue
            if time.monotonic() > call.starts_by:
                call.result.set_exception(Unavailable())
            else:
                self._start(call)


def _run(call: _QueuedCall) -> Any:
    """In a thread. Python keeps a call for which it could start none, and runs it later."""
    return None if call.result.done() else call.work()
