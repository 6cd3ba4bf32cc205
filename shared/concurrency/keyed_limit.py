"""Limits by key: how many of one key run at once, and how many may wait, on the event loop."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from shared.errors import Unavailable


class _Queue:
    def __init__(self, at_once: int) -> None:
        self.slots = asyncio.Semaphore(at_once)
        self.users = 0
        self.free_at = float("-inf")


class Turns:
    """A bounded queue for each key. Waiting takes no thread and no connection.

    Args:
        at_once: concurrent turns of one key.
        waiting_max: of one key; beyond it a turn is `Unavailable` at once.
        wait_seconds: for a turn.
        gap_seconds: between the end of a turn and the start of the next one of its key.
    """

    def __init__(
        self, at_once: int, *, waiting_max: int, wait_seconds: float, gap_seconds: float = 0.0
    ) -> None:
        self._at_once = at_once
        self._users_max = at_once + waiting_max
        self._wait_seconds = wait_seconds
        self._gap_seconds = gap_seconds
        self._queues: dict[Hashable, _Queue] = {}

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Run the block in a turn of this key.

        Raises:
            Unavailable: too many wait, or the turn did not come in time.
        """
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(self._at_once)
        if queue.users >= self._users_max:
            raise Unavailable("Too many requests wait for the same; try again shortly.")
        queue.users += 1
        try:
            await self._begin(queue)
            try:
                yield
            finally:
                queue.free_at = asyncio.get_running_loop().time() + self._gap_seconds
                queue.slots.release()
        finally:
            queue.users -= 1
            self._forget_later(key, queue)

    async def _begin(self, queue: _Queue) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await queue.slots.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "Too many requests of this kind are waiting; retry shortly."
            ) from error
        try:
            await asyncio.sleep(max(0.0, queue.free_at - asyncio.get_running_loop().time()))
        except BaseException:
            queue.slots.release()
            raise

    def _forget_later(self, key: Hashable, queue: _Queue) -> None:
        if queue.users:
            return
        if self._gap_seconds:
            asyncio.get_running_loop().call_later(self._gap_seconds, self._forget, key, queue)
        else:
            self._forget(key, queue)

    def _forget(self, key: Hashable, queue: _Queue) -> None:
        if not queue.users and self._queues.get(key) is queue:
            del self._queues[key]
