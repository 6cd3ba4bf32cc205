"""A few threads with a bounded queue: what is slow may wait, yet not without end."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits for a thread, and the future by which its caller waits for it."""

    work: Callable[[], Any]
    result: asyncio.Future[Any]
    waits: bool = False


class BoundedExecutor:
    """Runs blocking functions off the event loop, so many at a time and no more in waiting.

    Each caller has a queue, and free threads take from them in turn. So who sends a flood waits
    behind it, and nobody else does. When there is no room for another call, the caller with the
    longest queue loses its last one.

    Args:
        name: of its threads.
        threads: calls at the same time.
        waiting_max: calls that may wait for a thread.
        timeout_seconds: how long a call is waited for; None: as long as it takes.
    """

    def __init__(
        self, name: str, *, threads: int, waiting_max: int, timeout_seconds: float | None = None
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._waiting_max = waiting_max
        self._waiting = 0
        # In the order of their turns.
        self._queues: OrderedDict[str, deque[_Call]] = OrderedDict()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run_for` a caller that shares its turns with all others of no name."""
        return await self.run_for("", function, *args, **kwargs)

    async def run_for(
        self, caller: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the function in a thread and give back its answer.

        Args:
            caller: whose turn it takes, such as an address or a user's id.
            function: may block.
            args: of the function.
            kwargs: of the function.

        Raises:
            Unavailable: too many calls are waiting already; or it took too long. If it was under
                way by then it goes on, and nobody hears what came of it.
        """
        # The context carries the request id into the thread's log lines.
        context = copy_context()
        call = _Call(
            lambda: context.run(function, *args, **kwargs),
            asyncio.get_running_loop().create_future(),
        )
        if self._free:
            self._start(call)
        else:
            self._queue(caller, call)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                result: T = await call.result
                return result
        except TimeoutError as error:
            raise Unavailable from error
        finally:
            self._forget(caller, call)

    def close(self) -> None:
        """Finish what runs; drop what waits."""
        for queue in self._queues.values():
            for call in queue:
                call.waits = False
                call.result.cancel()
        self._queues.clear()
        self._waiting = 0
        self._executor.shutdown(cancel_futures=True)

    def _queue(self, caller: str, call: _Call) -> None:
        if self._waiting >= self._waiting_max:
            self._make_room(caller)
        self._queues.setdefault(caller, deque()).append(call)
        call.waits = True
        self._waiting += 1

    def _make_room(self, caller: str) -> None:
        """Refuse a call of the longest queue: the new one, if that is its caller's.

        Raises:
            Unavailable: it is.
        """
        refusal = Unavailable("Too many requests of this kind are waiting; try again shortly.")
        own = len(self._queues.get(caller, ()))
        if own * len(self._queues) >= self._waiting:
            raise refusal  # not fewer than the others have on average: no need to look for more
        longest = max(self._queues, key=lambda name: len(self._queues[name]))
        if len(self._queues[longest]) <= own + 1:
            raise refusal
        last = self._queues[longest][-1]
        self._forget(longest, last)
        last.result.set_exception(refusal)

    def _forget(self, caller: str, call: _Call) -> None:
        if not call.waits:
            return
        call.waits = False
        self._waiting -= 1
        queue = self._queues[caller]
        queue.remove(call)
        if not queue:
            del self._queues[caller]

    def _start(self, call: _Call) -> None:
        self._free -= 1
        done = asyncio.wrap_future(self._executor.submit(call.work))
        done.add_done_callback(lambda done: self._finish(call, done))

    def _finish(self, call: _Call, done: asyncio.Future[Any]) -> None:
        self._free += 1
        # Looked at also where nobody waits any more, or asyncio complains of an error unseen.
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
        while self._queues:
            caller, queue = self._queues.popitem(last=False)
            call = queue.popleft()
            call.waits = False
            self._waiting -= 1
            if queue:
                self._queues[caller] = queue  # at the end: the others come first
            if not call.result.done():
                self._start(call)
                return
