"""What watchers of sales share: samplers, ledgers, threads, and limits."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Engine

from gateway.live import store
from gateway.live.event_ledger import EventLedger
from gateway.live.figures import written
from gateway.live.past import Past, Step, all_marks
from gateway.live.refusals import EdgeRefusals
from gateway.live.sampler import Sample, Sampler
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.unread_responses import UnreadResponses
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import PermissionDenied, Unavailable

THREADS: Final = 2
WAITING_MAX: Final = 200
WATCHERS_MAX: Final = 2_000
WATCHERS_OF_USER_MAX: Final = 250
# A sample takes a thread a few milliseconds in each second.
EVENTS_MAX: Final = 100
EVENTS_OF_USER_MAX: Final = 25
# Ledgers whose past is kept in memory: 200 kB each.
LEDGERS_MAX: Final = 100
# After the last look at one.
LEDGER_KEPT_SECONDS: Final = 300.0
# For how long a stale sample is an answer. A stream goes on.
STALE_MAX_SECONDS: Final = 60.0


P = ParamSpec("P")
T = TypeVar("T")


class History(NamedTuple):
    """Points and marks have their times in seconds since 1970."""

    step_seconds: int
    points: list[dict[str, Any]]
    marks: list[dict[str, Any]]


class Live:
    """Of one event loop. Has threads of its own: a console never delays a purchase."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._threads = BoundedExecutor(
            "live",
            threads=THREADS,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )
        self.refusals = EdgeRefusals(engine, self._threads)
        self._samplers: dict[int, Sampler] = {}
        # Samplers of a user.
        self._events: Counter[int] = Counter()
        self._ledgers: OrderedDict[int, EventLedger] = OrderedDict()
        # One for all of them: a timer of each would keep it in memory.
        self._forgetting: asyncio.TimerHandle | None = None
        self._watchers: Counter[int] = Counter()
        self._is_closed = False
        rate = Rate(settings.feed_rate_burst, settings.feed_rate_per_second)
        self.limit = UserLimit(settings, "live", rate)
        self.unread = UnreadResponses(
            settings.unread_answers_max_bytes, settings.send_timeout_seconds
        )

    def start(self) -> None:
        self.refusals.writes.start()

    def stop(self) -> None:
        """End all streams, so that their clients connect to another process."""
        self._is_closed = True
        for sampler in list(self._samplers.values()):
            sampler.close()

    async def aclose(self) -> None:
        self.stop()
        await self.refusals.writes.stop()
        await self.refusals.write()
        self._threads.close()
        await self.limit.close()

    async def sampler(self, user_id: int, event_id: int) -> Sampler:
        """The event's, for its owner; it has a sample.

        Raises:
            NotFound: there is no such event.
            PermissionDenied: it is another user's.
            Unavailable: the database is unavailable, or too many events are watched.
        """
        known = self._samplers.get(event_id)
        if known is None or known.sample is None:
            await self._check_owner(user_id, event_id)
            known = self._samplers.get(event_id) or self._start(user_id, event_id)
        elif known.sample.owner_id != user_id:
            # Before it counts as a watcher, for whom the sampler would go on.
            raise PermissionDenied
        with known.watched():
            await known.first()
        return known

    @contextmanager
    def watching(self, user_id: int, sampler: Sampler) -> Iterator[None]:
        """Count a watcher until the block ends.

        Raises:
            Unavailable: this user, or all, have too many.
        """
        mine, all_ = self._watchers[user_id], self._watchers.total()
        if self._is_closed or mine >= WATCHERS_OF_USER_MAX or all_ >= WATCHERS_MAX:
            raise Unavailable("Too many live streams are open; close one of them, and retry.")
        self._watchers[user_id] += 1
        try:
            with sampler.watched():
                yield
        finally:
            self._watchers[user_id] -= 1
            if not self._watchers[user_id]:
                del self._watchers[user_id]

    async def sample(self, user_id: int, event_id: int) -> Sample:
        """Raises what `sampler` raises; Unavailable also if it has been stale for too long."""
        sample = (await self.sampler(user_id, event_id)).sample
        assert sample is not None
        if time.monotonic() - sample.read_at > STALE_MAX_SECONDS:
            raise Unavailable
        return sample

    async def history(
        self, user_id: int, event_id: int, since: float | None = None
    ) -> dict[str, Any]:
        """The whole past of a sale, or that since a moment (seconds since 1970).

        Raises:
            NotFound, PermissionDenied: as `sampler`.
            Unavailable: the database is unavailable.
        """
        await self._check_owner(user_id, event_id)
        try:
            figures = await self._run(event_id, store.read_figures)
            marks, refusals = await self._run(event_id, store.read_others)
            ledger = self._ledger(event_id)
            number, total, first = await self._read(ledger, event_id, figures.number, _end)
            begins_at = None
            if since is not None:
                refusals = [each for each in refusals if each.second >= since]
                # Before the first purchase there are no steps.
                if first is not None and first < since:
                    begins_at = min(since, figures.now)
            if begins_at is not None:
                begin = await self._run(event_id, store.number_at, begins_at)
                past = Past(begin, int(begins_at))
                ledger = EventLedger(self._engine, event_id, past)

            def look(past: Past) -> History:
                if begins_at is not None:
                    past.begin_with(total)
                width, points = past.history(refusals, figures.queued)
                known = all_marks(past.marks, marks, width, since, figures.now)
                return History(width, points, known)

            found = await self._read(ledger, event_id, number, look)
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable from error
        for each in (*found.points, *found.marks):
            each["at"] = written(each["at"])
        return {
            "event": event_id,
            "now": written(figures.now),
            "step_seconds": found.step_seconds,
            "points": found.points,
            "marks": found.marks,
        }

    async def _read(
        self, ledger: EventLedger, event_id: int, last: int, look: Callable[[Past], T]
    ) -> T:
        found = None
        while found is None:
            found = await self._threads.run_for(str(event_id), ledger.read_to, last, look)
        return found

    async def _run(
        self,
        event_id: int,
        work: Callable[Concatenate[Engine, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._threads.run_for(
            str(event_id), work, self._engine, event_id, *args, **kwargs
        )

    async def _check_owner(self, user_id: int, event_id: int) -> None:
        try:
            await self._threads.run_for(
                f"user {user_id}", store.check_event, self._engine, user_id, event_id
            )
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable from error

    def _start(self, user_id: int, event_id: int) -> Sampler:
        if self._events[user_id] >= EVENTS_OF_USER_MAX:
            self._end_one_that_lingers(user_id)
        mine, all_ = self._events[user_id], len(self._samplers)
        if self._is_closed or mine >= EVENTS_OF_USER_MAX or all_ >= EVENTS_MAX:
            raise Unavailable("Too many events are watched; retry.")
        sampler = Sampler(
            self._engine,
            self._threads,
            event_id,
            self._ledger(event_id),
            partial(self._forget, user_id, event_id),
        )
        self._samplers[event_id] = sampler
        self._events[user_id] += 1
        return sampler

    def _end_one_that_lingers(self, user_id: int) -> None:
        """A list reads the figures of each event once; the one begun first has served longest."""
        for sampler in self._samplers.values():
            if sampler.lingers_for(user_id):
                sampler.close()
                return

    def _forget(self, user_id: int, event_id: int) -> None:
        del self._samplers[event_id]
        self._events[user_id] -= 1
        if not self._events[user_id]:
            del self._events[user_id]

    def _ledger(self, event_id: int) -> EventLedger:
        ledger = self._ledgers.pop(event_id, None) or EventLedger(self._engine, event_id)
        self._ledgers[event_id] = ledger
        if len(self._ledgers) > LEDGERS_MAX:
            self._ledgers.popitem(last=False)
        if self._forgetting is None:
            self._forget_later()
        return ledger

    def _forget_later(self) -> None:
        """When the ledger that was used longest ago is due."""
        due = min(ledger.used_at for ledger in self._ledgers.values()) + LEDGER_KEPT_SECONDS
        loop = asyncio.get_running_loop()
        self._forgetting = loop.call_later(due - time.monotonic(), self._forget_unused)

    def _forget_unused(self) -> None:
        oldest = time.monotonic() - LEDGER_KEPT_SECONDS
        for event_id, ledger in list(self._ledgers.items()):
            if ledger.used_at <= oldest:
                del self._ledgers[event_id]
        self._forgetting = None
        if self._ledgers:
            self._forget_later()


def _end(past: Past) -> tuple[int, Step, int | None]:
    """The last entry, what all up to it add up to, and the second of the first purchase."""
    total = Step()
    total.add(past.total)
    return past.number, total, past.first
