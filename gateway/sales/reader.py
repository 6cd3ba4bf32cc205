"""Keeps the documents of sales in memory, never older than a second while the database answers.

Nothing is read while nobody asks. A request reads what it needs, together with what all others need
by then, in one turn at a time: so the database has the same load from one reader and from a rush.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from math import inf
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Engine

from gateway import metrics
from gateway.bounded_memory import BoundedMemory
from gateway.sales.documents import Document, SaleList, sale_document
from gateway.sales.store import read_list, read_sales
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import NotFound, Unavailable
from shared.observability.logging import get_logger

# In place of an event's id.
LIST: Final = 0
# A request for an older document has it read anew, and still gets it.
REFRESH_SECONDS: Final = 0.75
FRESH_SECONDS: Final = 1.0
# How long a request waits for a turn, and how long none follows one that failed.
WAIT_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.5
STALE_MAX_SECONDS: Final = 60.0
# In memory: documents, of which one may have 200 ticket types with long names; and ids that have
# none.
DOCUMENTS_MAX: Final = 1_000
DOCUMENTS_MAX_BYTES: Final = 16_000_000
MISSING_MAX: Final = 10_000
# Ids that are not in memory, in one turn: more than come within its milliseconds.
NEW_OF_TURN_MAX: Final = 200
# In one statement: 5 MB at most, whose decoding keeps a purchase waiting for some milliseconds.
READ_AT_ONCE: Final = 20

logger = get_logger(__name__)


class Remembered(msgspec.Struct):
    """What was read of one event, or of the list.

    Args:
        render: the document of what was read, at a moment in seconds since 1970.
        read_at: before its snapshot was taken.
    """

    document: Document
    render: Callable[[float], Document]
    read_at: float


class Answer(NamedTuple):
    """`now`: in seconds since 1970, by the clock of the database."""

    document: Document
    now: float
    stale: bool


class Turn:
    """A read of all that was wanted before it began. `found`: None: nothing was read."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()
        self.new = 0
        self.found: Mapping[int, Remembered] | None = None
        self.opened_at = time.monotonic()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SaleReader:
    """Of one event loop. It has a thread of its own, so it never delays a purchase or a poll.

    Args:
        settings: how long the database may take.
        engine: where sales are read.
        stale_max_seconds: for how long what was read last is served without the database.
    """

    def __init__(
        self, settings: Settings, engine: Engine, stale_max_seconds: float = STALE_MAX_SECONDS
    ) -> None:
        self._engine = engine
        self._stale_max_seconds = stale_max_seconds
        self._thread = BoundedExecutor(
            "sales", threads=1, waiting_max=1, timeout_seconds=settings.answer_timeout_seconds
        )
        self._documents: BoundedMemory[int, Remembered] = BoundedMemory(
            DOCUMENTS_MAX, DOCUMENTS_MAX_BYTES
        )
        # When an id was looked up that has no published event.
        self._missing: BoundedMemory[int, float] = BoundedMemory(MISSING_MAX)
        self._open: Turn | None = None
        self._running: Turn | None = None
        self._turns: asyncio.Task[None] | None = None
        self._failed_at = -inf
        # Of the database, ahead of `time.monotonic`.
        self._clock_ahead = 0.0

    async def aclose(self) -> None:
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.gather(self._turns, return_exceptions=True)
        self._thread.close()

    async def sale(self, event_id: int) -> Answer:
        """Raises:
        NotFound: there is no such event, or it is not published.
        Unavailable: that is not known.
        """
        return self._fresh(event_id) or await self._read(event_id)

    async def list(self) -> Answer:
        """Raises Unavailable."""
        return self._fresh(LIST) or await self._read(LIST)

    def _fresh(self, key: int) -> Answer | None:
        known = self._documents.get(key)
        now = time.monotonic()
        if known is None or now - known.read_at >= FRESH_SECONDS:
            return None
        if now - known.read_at >= REFRESH_SECONDS:
            self._want(key)
        return self._answer(known, now, stale=False)

    async def _read(self, key: int) -> Answer:
        missing_at = self._missing.get(key)
        if missing_at is not None and time.monotonic() - missing_at < FRESH_SECONDS:
            raise NotFound
        known = None
        if (turn := self._want(key)) is not None:
            seconds = turn.opened_at + WAIT_SECONDS - time.monotonic()
            await asyncio.wait([turn.ended], timeout=max(seconds, 0))
            if turn.found is not None and (known := turn.found.get(key)) is None:
                raise NotFound
        known = known or self._documents.get(key)
        now = time.monotonic()
        if known is None or now - known.read_at >= self._stale_max_seconds:
            raise Unavailable
        return self._answer(known, now, stale=now - known.read_at >= FRESH_SECONDS)

    def _answer(self, known: Remembered, now: float, *, stale: bool) -> Answer:
        at = now + self._clock_ahead
        if at >= known.document.changes_at:
            known.document = known.render(at)
        return Answer(known.document, at, stale)

    def _want(self, key: int) -> Turn | None:
        """The turn that reads it; None: none can now."""
        if self._running is not None and key in self._running.wanted:
            return self._running
        if time.monotonic() - self._failed_at < PAUSE_SECONDS:
            return None
        turn = self._open = self._open or Turn()
        if key not in turn.wanted:
            is_new = key != LIST and key not in self._documents
            if is_new and turn.new >= NEW_OF_TURN_MAX:
                return None
            turn.new += is_new
            turn.wanted.add(key)
        if self._turns is None or self._turns.done():
            self._turns = asyncio.create_task(self._run_turns())
        return turn

    async def _run_turns(self) -> None:
        while (turn := self._open) is not None:
            self._running, self._open = turn, None
            try:
                await self._run(turn)
            except (Unavailable, *DATABASE_UNAVAILABLE) as error:
                logger.warning("sales_unavailable", error=str(error))
                self._fail()
            except Exception:
                logger.exception("sales_failed")
                self._fail()
            finally:
                self._running = None
                turn.ended.set_result(None)

    def _fail(self) -> None:
        """Those who came meanwhile get what there is, too."""
        self._failed_at = time.monotonic()
        if self._open is not None:
            self._open.ended.set_result(None)
            self._open = None

    async def _run(self, turn: Turn) -> None:
        read_at = time.monotonic()
        with metrics.SALES_READ_SECONDS.time():
            found, self._clock_ahead = await self._thread.run(
                _read_all, self._engine, turn.wanted, read_at
            )
        turn.found = found
        for key in turn.wanted:
            if (remembered := found.get(key)) is None:
                self._documents.forget(key)
                self._missing.put(key, read_at)
            else:
                self._missing.forget(key)
                self._documents.put(key, remembered, remembered.document.size)


def _read_all(
    engine: Engine, wanted: Collection[int], read_at: float
) -> tuple[dict[int, Remembered], float]:
    """What was found, and by how much the clock of the database is ahead; in a thread."""
    found: dict[int, Remembered] = {}
    ahead = 0.0

    def remember(key: int, render: Callable[[float], Document], now: float) -> None:
        found[key] = Remembered(render(now), render, read_at)

    event_ids = [key for key in wanted if key != LIST]
    for start in range(0, len(event_ids), READ_AT_ONCE):
        read = read_sales(engine, event_ids[start : start + READ_AT_ONCE])
        ahead = read.now - time.monotonic()
        for sale in read.sales:
            remember(sale.event, partial(sale_document, sale), read.now)
    if LIST in wanted:
        read = read_list(engine)
        ahead = read.now - time.monotonic()
        remember(LIST, SaleList(read.sales).document, read.now)
    return found, ahead
