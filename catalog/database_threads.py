"""The catalog's database work, with threads for each kind of request: none takes all connections.

The pool has a connection for each thread: no thread waits for a connection, and requests that wait
for a row wait on the event loop, without a thread.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from catalog.transactions import RowLocked, ledgers_of, session_transaction
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings

T = TypeVar("T")
Work = Callable[[Session], T]

# Requests of a kind that may wait for one of its threads: about a second of work.
WAITING_MAX = 50
# Lists of one user that may wait for each other: more than an honest client sends at once.
WAITING_FOR_LIST_MAX = 30
# Writers of one row, or of one event's lane, that may wait for each other: a second of work, with
# the gaps.
WAITING_FOR_ROW_MAX = 16
# A drain that meets a writer's lock skips the event and retries a few times, some 30 ms apart
# (purchase_worker/drain.py). An owner who writes without a pause leaves this gap.
GAP_SECONDS = 0.05
# A batch of decisions holds its lock for about 10 ms. A longer wait gives its thread back.
LOCK_ATTEMPT_MS = 50
WRITE_LIMITS = {"lock_timeout": f"{LOCK_ATTEMPT_MS}ms"}
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.4


def connections_of(settings: Settings) -> int:
    """All threads, one for readiness among them, and that of the credentials."""
    return (
        settings.catalog_read_threads
        + settings.catalog_list_threads
        + settings.catalog_search_threads
        + settings.catalog_write_threads
        + 2
    )


class DatabaseThreads:
    """Runs work on sessions; each call is one transaction, which commits when the work returns.

    All raise what the work raises, and Unavailable: the database is unavailable or too slow, or
    too many requests wait.
    """

    def __init__(
        self, engine: Engine, settings: Settings, announce: Callable[[Collection[int]], None]
    ) -> None:
        """
        Args:
            engine: one with `connections_of(settings)` connections.
            settings: timeouts, and the threads of each kind.
            announce: called after a commit with the events whose ledgers may have new entries.
        """
        self._engine = engine
        self._announce = announce
        self._lock_wait_seconds = settings.lock_timeout_ms / 1_000
        self._list_limits = {"statement_timeout": f"{settings.catalog_list_timeout_ms}ms"}
        answer = settings.answer_timeout_seconds
        # PostgreSQL's own limits come first; and it ends before the time that a stop leaves.
        write = (settings.statement_timeout_ms + settings.lock_timeout_ms) / 1_000
        self._ready = _threads("ready", 1, answer, waiting_max=4)
        self._reads = _threads("read", settings.catalog_read_threads, answer)
        self._lists = _threads("list", settings.catalog_list_threads, answer)
        self._searches = _threads("search", settings.catalog_search_threads, answer)
        self._writes = _threads("write", settings.catalog_write_threads, write)
        self._listers = Turns(1, waiting_max=WAITING_FOR_LIST_MAX, wait_seconds=answer)
        self._searchers = Turns(1, waiting_max=2, wait_seconds=answer)
        self._writers = Turns(
            1,
            waiting_max=WAITING_FOR_ROW_MAX,
            wait_seconds=self._lock_wait_seconds,
            gap_seconds=GAP_SECONDS,
        )

    async def ready(self, work: Work[T]) -> T:
        return await self._run(self._ready, "", work)

    async def read(self, caller: int | str, work: Work[T]) -> T:
        """For rows by id, without a lock. Callers take turns: a user's id, or a subject."""
        return await self._run(self._reads, str(caller), work)

    async def list(self, user_id: int, work: Work[T]) -> T:
        """For many rows; one at a time of each user."""
        async with self._listers.of(user_id):
            return await self._run(self._lists, str(user_id), work, self._list_limits)

    async def search(self, user_id: int, work: Work[T]) -> T:
        """For a scan of every row; one at a time of each user."""
        async with self._searchers.of(user_id):
            return await self._run(self._searches, str(user_id), work, self._list_limits)

    async def write(self, user_id: int, row: Hashable, work: Work[T]) -> T:
        """For changes; one at a time of each row or lane. Runs the work again if it met a lock.

        Args:
            user_id: users take turns at the threads.
            row: what it locks; None: nothing that other requests wait for.
            work: may be called several times; only the last call is committed.
        """
        if row is None:
            return await self._write(user_id, work)
        async with self._writers.of(row):
            return await self._write(user_id, work)

    async def _write(self, user_id: int, work: Work[T]) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lock_wait_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._run(self._writes, str(user_id), work, WRITE_LIMITS)
            except RowLocked:
                if loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run(
        self,
        threads: BoundedExecutor,
        caller: str,
        work: Work[T],
        limits: Mapping[str, str] | None = None,
    ) -> T:
        def in_transaction() -> T:
            with session_transaction(self._engine, limits) as session:
                result = work(session)
            if ledgers := ledgers_of(session):
                self._announce(ledgers)
            return result

        return await threads.run_for(caller, in_transaction)

    def close(self) -> None:
        for threads in (self._ready, self._reads, self._lists, self._searches, self._writes):
            threads.close()


def _threads(
    name: str, threads: int, timeout_seconds: float, *, waiting_max: int = WAITING_MAX
) -> BoundedExecutor:
    return BoundedExecutor(
        name, threads=threads, waiting_max=waiting_max, timeout_seconds=timeout_seconds
    )
