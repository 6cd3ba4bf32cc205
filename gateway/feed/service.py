"""Reads pages of a ledger, and waits for the next entry at its end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import msgspec
from sqlalchemy import Engine

from gateway.feed import store
from gateway.purchases.waiting import Waiter, Waiters, WaitLimit, ledger_of
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.unread_responses import PIECE_BYTES, UnreadResponses
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.database.export import Format
from shared.database.ledger import LedgerPage
from shared.errors import ClientLeft, EpochChanged, Unavailable
from shared.observability.logging import get_logger

P = ParamSpec("P")
T = TypeVar("T")

PAGE_THREADS = 2
EXPORT_THREADS = 1
THREADS = PAGE_THREADS + EXPORT_THREADS
WAITING_MAX = 200
# Exports of one user at once, and how long a part of one may take.
EXPORTS_OF_USER_MAX = 2
PART_SECONDS = 30.0
# Entries of a hot sale gather for so long before a page of them is read: then a reader has a
# hundred pages a second at most, and each entry a hundredth of a second later.
GATHER_SECONDS = 0.01

logger = get_logger(__name__)


class Wanted(msgspec.Struct, frozen=True):
    """A page: at most `rows` entries after a number. `kinds`, `epoch`: None where none is named."""

    event_id: int
    after: int
    rows: int
    kinds: Collection[str] | None = None
    epoch: str | None = None


class Feed:
    """Has threads of its own: reading a ledger never delays a purchase or a poll."""

    def __init__(self, settings: Settings, engine: Engine, waiters: Waiters) -> None:
        self._engine = engine
        self._waiters = waiters
        self._threads = BoundedExecutor(
            "feed",
            threads=PAGE_THREADS,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )
        self._export_threads = BoundedExecutor(
            "export",
            threads=EXPORT_THREADS,
            waiting_max=WAITING_MAX,
            timeout_seconds=PART_SECONDS,
        )
        self._exports: Counter[int] = Counter()
        rate = Rate(settings.feed_rate_burst, settings.feed_rate_per_second)
        self.limit = UserLimit(settings, "feed", rate)
        self.unread = UnreadResponses(
            settings.unread_answers_max_bytes, settings.send_timeout_seconds
        )

    async def aclose(self) -> None:
        self._threads.close()
        self._export_threads.close()
        await self.limit.close()

    async def page(
        self, user_id: int, wanted: Wanted, wait_limit: WaitLimit | None = None
    ) -> LedgerPage:
        """A page as it is now; or, where it is empty, with the next entries up to `wait_limit`.

        Raises:
            NotFound: there is no such event.
            PermissionDenied: it is another user's.
            EpochChanged: it is of another epoch.
            Unavailable: the database is unavailable, or too many pages are being read.
            ClientLeft: while it waited.
        """
        after = wanted.after
        while True:
            entry = self._waiters.expect(ledger_of(wanted.event_id), Waiter(user_id))
            may_wait = not entry.done()
            try:
                if wait_limit is not None:
                    await asyncio.sleep(GATHER_SECONDS)
                page = await self._read(user_id, wanted, after)
                if page.entries or not page.at_end or not may_wait:
                    return page
                if wait_limit is None or wait_limit.is_over:
                    return page
                after = page.last
                await wait_limit.wait_for(entry)
            finally:
                self._waiters.forget(ledger_of(wanted.event_id), entry)

    async def export(self, user_id: int, event_id: int, form: Format) -> AsyncIterator[bytes]:
        """The whole ledger up to its present end, as fast as its client reads.

        Raises:
            NotFound, PermissionDenied, Unavailable: as `page`.
            ClientLeft: of a part: the database is unavailable. Nothing can be answered any more;
                without its last chunk the client sees that the export is incomplete.
        """
        parts = await self._in_thread(
            user_id, store.begin_export, self._engine, user_id, event_id, form
        )
        return self._parts(user_id, event_id, parts)

    @contextmanager
    def exporting(self, user_id: int) -> Iterator[None]:
        """Count an export until the block ends.

        Raises:
            Unavailable: this user reads too many.
        """
        if self._exports[user_id] >= EXPORTS_OF_USER_MAX:
            raise Unavailable("You read several exports already; finish one of them, and retry.")
        self._exports[user_id] += 1
        try:
            yield
        finally:
            self._exports[user_id] -= 1
            if not self._exports[user_id]:
                del self._exports[user_id]

    async def _parts(
        self, user_id: int, event_id: int, parts: Iterator[bytes]
    ) -> AsyncIterator[bytes]:
        try:
            while (part := await self._in_thread(user_id, next, parts, None)) is not None:
                # Small pieces: a slow client has to read each of them in time, not all of a part.
                for at in range(0, len(part), PIECE_BYTES):
                    yield part[at : at + PIECE_BYTES]
        except Unavailable as error:
            logger.warning("export_interrupted", events=[event_id], error=repr(error.__cause__))
            raise ClientLeft from error

    async def _in_thread(
        self, user_id: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            return await self._export_threads.run_for(str(user_id), function, *args, **kwargs)
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable("Temporarily unavailable; nothing is lost, retry.") from error

    async def _read(self, user_id: int, wanted: Wanted, after: int) -> LedgerPage:
        try:
            page = await self._threads.run_for(
                str(user_id),
                store.read_page,
                self._engine,
                user_id,
                wanted.event_id,
                after,
                wanted.rows,
                wanted.kinds,
            )
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable("Temporarily unavailable; nothing is lost, retry.") from error
        if wanted.epoch not in (None, page.epoch):
            raise EpochChanged(extra={"epoch": page.epoch})
        return page
