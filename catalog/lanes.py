"""The catalog's database work in lanes, so that no kind of request takes the others' connections.

Each lane has threads of its own, and the pool has a connection for each thread: nobody waits for
a connection, and whoever waits for a row waits on the event loop, without a thread.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from catalog.transactions import RowLocked, session_transaction
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings

T = TypeVar("T")
Work = Callable[[Session], T]

# Requests of a lane that may wait for one of its threads: about a second of work.
WAITING_MAX = 50
# Lists of one user that may wait for each other: more than come at once from an honest client.
WAITING_FOR_LIST_MAX = 30
# Writers of one row that may wait for each other: a second of work, with the gaps.
WAITING_FOR_ROW_MAX = 16
# Whoever decides is turned away by a writer's lock and comes back a few times, some 30 ms apart
# (purchase_worker/drain.py). An owner who writes without a pause leaves this much between.
GAP_SECONDS = 0.05
# A batch of decisions holds its lock for about 10 ms. Whoever waits longer gives its thread back.
LOCK_ATTEMPT_MS = 50
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.4


def connections_of(settings: Settings) -> int:
    """One for each thread of a lane, readiness among them."""
    return (
        settings.catalog_read_threads
        + settings.catalog_list_threads
        + settings.catalog_search_threads
        + settings.catalog_write_threads
        + 1
    )


class Lanes:
    """Runs work on sessions; each call is one transaction, which commits when the work is done.

    Args:
        engine: with `connections_of(settings)` connections.
        settings: threads and limits.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._lock_wait_seconds = settings.lock_timeout_ms / 1_000
        self._list_limits = {"statement_timeout": f"{settings.catalog_list_timeout_ms}ms"}
        self._write_limits = {"lock_timeout": f"{LOCK_ATTEMPT_MS}ms"}
        answer = settings.answer_timeout_seconds
        # All limits of PostgreSQL come before it, and it comes before the end of a stop.
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
        """For the probe of readiness."""
        return await self._run(self._ready, work)

    async def read(self, work: Work[T]) -> T:
        """What finds its rows by id, and locks none.

        Raises:
            Problem: what the work refuses; Unavailable: the database is away, or too many wait.
        """
        return await self._run(self._reads, work)

    async def list(self, user_id: int, work: Work[T]) -> T:
        """What reads many rows: of one user one at a time. Raises what `read` raises."""
        async with self._listers.of(user_id):
            return await self._run(self._lists, work, self._list_limits)

    async def search(self, user_id: int, work: Work[T]) -> T:
        """What looks into every row: of one user one at a time. Raises what `read` raises."""
        async with self._searchers.of(user_id):
            return await self._run(self._searches, work, self._list_limits)

    async def write(self, row: Hashable, work: Work[T]) -> T:
        """What changes a row; of one row one at a time. The work is run again if it met a lock.

        Args:
            row: what it locks. None: nothing that others would wait for.
            work: may be called several times; only the last is committed.

        Raises:
            Problem: what the work refuses; Unavailable: the database is away, too many wait, or
                the row is locked by others for too long.
        """
        if row is None:
            return await self._write(work)
        async with self._writers.of(row):
            return await self._write(work)

    async def change(
        self,
        row: Hashable,
        *,
        find: Work[T],
        lock: Work[T],
        check: Callable[[Session, T], None],
        apply: Callable[[Session, T], None],
    ) -> T:
        """Check what `find` reads, then `lock` it, check it again, and apply a change.

        A request that is not allowed or not possible never gets a lock, nor a turn at one. The
        check under the lock sees every sale and change before this one.

        Raises what `check` and `write` raise.
        """

        def locked(session: Session) -> T:
            found = lock(session)
            check(session, found)
            apply(session, found)
            return found

        await self.read(lambda session: check(session, find(session)))
        return await self.write(row, locked)

    async def _write(self, work: Work[T]) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lock_wait_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._run(self._writes, work, self._write_limits)
            except RowLocked:
                if loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run(
        self, threads: BoundedExecutor, work: Work[T], limits: Mapping[str, str] | None = None
    ) -> T:
        return await threads.run(_in_transaction, self._engine, work, limits or {})

    def close(self) -> None:
        for threads in (self._ready, self._reads, self._lists, self._searches, self._writes):
            threads.close()


def _threads(
    name: str, threads: int, timeout_seconds: float, *, waiting_max: int = WAITING_MAX
) -> BoundedExecutor:
    return BoundedExecutor(
        name, threads=threads, waiting_max=waiting_max, timeout_seconds=timeout_seconds
    )


def _in_transaction(engine: Engine, work: Work[T], limits: Mapping[str, str]) -> T:
    with session_transaction(engine, limits) as session:
        return work(session)
