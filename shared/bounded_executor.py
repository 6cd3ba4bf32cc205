"""A few threads with a bounded queue: what is slow may wait, yet not without end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class BoundedExecutor:
    """Runs blocking functions off the event loop, so many at a time and no more in waiting.

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
        self._pending = 0
        self._pending_max = threads + waiting_max

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a thread and give back its answer.

        Raises:
            Unavailable: too many calls are waiting already; or it took too long. If it was under
                way by then it goes on, and nobody hears what came of it.
        """
        if self._pending >= self._pending_max:
            raise Unavailable("Too many requests of this kind are waiting; try again shortly.")
        self._pending += 1
        # The context carries the request id into the thread's log lines.
        call = self._executor.submit(copy_context().run, lambda: function(*args, **kwargs))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(call)
        except TimeoutError as error:
            raise Unavailable from error
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Finish what runs; drop what waits."""
        self._executor.shutdown(cancel_futures=True)
