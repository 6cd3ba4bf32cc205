"""Samples an event once a second, for all who watch it in this process."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import Engine

from gateway.live import store
from gateway.live.event_ledger import EventLedger, totals
from gateway.live.figures import Pulse, live_document
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Problem, Unavailable
from shared.observability.logging import get_logger

SAMPLE_SECONDS: Final = 1.0
# After the last watcher: those who poll are spared a new beginning each time.
LINGER_SECONDS: Final = 10.0

logger = get_logger(__name__)


class Sample(msgspec.Struct, frozen=True):
    """`read_at`: when it was read (monotonic), of a stale one too. `data`: JSON."""

    number: int
    owner_id: int
    read_at: float
    stale: bool
    data: bytes

    @property
    def event(self) -> bytes:
        """As a server-sent event; JSON has no line breaks here."""
        return b"event: live\nid: %d\ndata: %b\n\n" % (self.number, self.data)


class Sampler:
    """Runs while anybody watches, and a little longer. Of one event loop.

    Args:
        ledger: of the event.
        ended: called in the end.
    """

    def __init__(
        self,
        engine: Engine,
        threads: BoundedExecutor,
        event_id: int,
        ledger: EventLedger,
        ended: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._event_id = event_id
        self._ledger = ledger
        self._ended = ended
        self._pulse = Pulse()
        self._document: dict[str, Any] = {}
        self._watchers = 0
        self._linger_until = 0.0
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sample: Sample | None = None
        # Why there are no more samples; each who asks gets one of his own, to add headers to.
        self.problem: type[Problem] | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def next(self) -> asyncio.Future[None]:
        """Done when there is another sample, or none any more. To be shielded."""
        return self._next

    def lingers_for(self, owner_id: int) -> bool:
        """Whether it has samples of this owner's event that nobody watches any more."""
        return not self._watchers and self.sample is not None and self.sample.owner_id == owner_id

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self._linger_until = time.monotonic() + LINGER_SECONDS

    async def first(self) -> Sample:
        """The newest sample, or the first.

        Raises:
            NotFound: there is no such event.
            Unavailable: the database is unavailable, and there was no sample yet.
        """
        while self.sample is None and self.problem is None:
            await asyncio.shield(self._next)
        if self.problem is not None:
            raise self.problem()
        assert self.sample is not None
        return self.sample

    def close(self) -> None:
        self._task.cancel()
        self._end(Unavailable)

    async def _run(self) -> None:
        try:
            while self._watchers or time.monotonic() < self._linger_until:
                began = time.monotonic()
                await self._sample()
                await asyncio.sleep(max(0.0, began + SAMPLE_SECONDS - time.monotonic()))
        except Problem as problem:
            self._end(type(problem))
        except Exception:
            logger.exception("live_failed", event_id=self._event_id)
            self._end(Unavailable)
        else:
            self._end(Unavailable)

    async def _sample(self) -> None:
        """Raises NotFound; Unavailable: the first one."""
        try:
            await self._read()
        except (Unavailable, *DATABASE_UNAVAILABLE) as error:
            if self.sample is None:
                raise Unavailable from error
            if not self.sample.stale:
                logger.warning("live_unavailable", event_id=self._event_id, error=repr(error))
            self._publish(self.sample.owner_id, self.sample.read_at, stale=True)

    async def _read(self) -> None:
        read_at = time.monotonic()
        event = str(self._event_id)
        figures = await self._threads.run_for(
            event, store.read_figures, self._engine, self._event_id
        )
        found = None
        while found is None:
            found = await self._threads.run_for(event, self._ledger.read_to, figures.number, totals)
        rates = self._pulse.rates(read_at, found.decided, figures.queued)
        self._document = live_document(self._event_id, figures, rates, found.refused)
        self._publish(figures.owner_id, read_at, stale=False)

    def _publish(self, owner_id: int, read_at: float, *, stale: bool) -> None:
        number = 1 if self.sample is None else self.sample.number + 1
        data = msgspec.json.encode(self._document | {"stale": stale})
        self.sample = Sample(number, owner_id, read_at, stale, data)
        self._wake()

    def _end(self, problem: type[Problem]) -> None:
        if self.problem is None:
            self.problem = problem
            self._ended()
            self._wake()

    def _wake(self) -> None:
        before, self._next = self._next, asyncio.get_running_loop().create_future()
        if not before.done():
            before.set_result(None)
