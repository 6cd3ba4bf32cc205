"""Work that the event loop repeats until it is stopped."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.stdlib import BoundLogger


class Periodic:
    """Runs `work`, pauses, and runs it again. An exception is logged and ends nothing.

    Args:
        work: one run. If it is long it should return once `is_stopping`: a library may swallow the
            cancellation.
        pause_seconds: after each run.
        logger: logs exceptions of `work`.
        failed: the name of that log event.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[None]],
        pause_seconds: float,
        logger: BoundLogger,
        failed: str,
    ) -> None:
        self._work = work
        self._pause_seconds = pause_seconds
        self._logger = logger
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self.is_stopping = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        self.is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _repeat(self) -> None:
        while not self.is_stopping:
            try:
                await self._work()
            except Exception:
                self._logger.exception(self._failed)
            if not self.is_stopping:
                await asyncio.sleep(self._pause_seconds)
