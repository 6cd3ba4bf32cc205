"""Clients that wait for a decision, and what wakes them: Redis, or else the database."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Engine

from gateway import metrics
from gateway.purchases import read
from gateway.purchases.pace import Pace
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import ClientLeft
from shared.messaging.redis_client import database_number
from shared.messaging.subscription import Subscription
from shared.observability.logging import get_logger
from shared.purchases import DECIDED_CHANNEL, DecidedBatch
from shared.web.asgi_extensions import ClientLeaves

RECHECKS_SKIPPED_WHILE_SUBSCRIBED = 5
# Ids in one query: a few milliseconds of an index.
RECHECK_ROWS = 2_000
# Lanes of which somebody waits for the next entry: each an index entry. While Redis is unavailable,
# what is new is found by this alone.
LEDGER_RECHECK_SECONDS = 0.5
LEDGER = "ledger:"

logger = get_logger(__name__)


class Waiter(NamedTuple):
    """Who waits: a user; with an API key, `buyer` is whom it bought for ("": the user).

    `resolves`: for commands, which have a limit of their own. They count apart, or they could take
    the place of a stream while it reads again.
    """

    user_id: int
    buyer: str | None = None
    resolves: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What a confirmation or release made of its purchase, and when."""

    status: str
    at: str


# What the message of a decision tells of it: of a confirmation or release its outcome, of a
# purchase its packed result.
Told = Outcome | bytes
NOTHING_TOLD: Mapping[str, Told] = MappingProxyType({})
# Of the callbacks of all that wait: each would get a copy of its task's.
NO_CONTEXT = contextvars.Context()
# Its result is what was told of it; None: it is to be read.
Decision = asyncio.Future[Told | None]


def ledger_of(event_id: int) -> str:
    """What who waits for the next entry of an event expects, in place of a purchase."""
    return f"{LEDGER}{event_id}"


class Waiters:
    """One future for each client that waits.

    Nothing here takes longer the more clients wait for one purchase: its owner may open any number
    of connections and close them in any order.

    Args:
        at_most: clients that may wait at a time.
        at_most_each: the same for each user, and for each buyer of a user's API keys, so that one
            cannot use up the limit of all.
        at_most_of_keys: for all API keys of a user: more buyers do not make it more.
    """

    def __init__(self, at_most: int, at_most_each: int, at_most_of_keys: int) -> None:
        self._futures: dict[str, set[Decision]] = {}
        self._at_most = at_most
        self._at_most_each = at_most_each
        self._at_most_of_keys = at_most_of_keys
        # Until `forget`: a client that waits again at once is within the limits again.
        self._waiter_of: dict[Decision, Waiter] = {}
        self._waiting: Counter[Hashable] = Counter()
        self._closed = False

    @property
    def count(self) -> int:
        return len(self._waiter_of)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def is_full(self, waiter: Waiter, at_most_each: int | None = None) -> bool:
        return self.count >= self._at_most or any(
            self._waiting[name] >= at_most for name, at_most in self._limits(waiter, at_most_each)
        )

    def expect(self, purchase_id: str, waiter: Waiter, at_most_each: int | None = None) -> Decision:
        """A future that is done at the decision, or at once if this one may not wait.

        Call it before reading the purchase, so that no decision is missed, and `forget` in the end.
        `at_most_each`: of each user or buyer, if not as many as for purchases; the same for all of
        one `waiter`.
        """
        future: Decision = asyncio.get_running_loop().create_future()
        if self._closed or self.is_full(waiter, at_most_each):
            future.set_result(None)
        else:
            self._futures.setdefault(purchase_id, set()).add(future)
            self._waiter_of[future] = waiter
            for name, _ in self._limits(waiter):
                self._waiting[name] += 1
            metrics.CLIENTS_WAITING.set(self.count)
        return future

    def forget(self, purchase_id: str, future: Decision) -> None:
        waiter = self._waiter_of.pop(future, None)
        if waiter is None:
            return
        for name, _ in self._limits(waiter):
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
        metrics.CLIENTS_WAITING.set(self.count)
        waiting = self._futures.get(purchase_id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._futures[purchase_id]

    def wake(self, purchase_ids: Iterable[str], told: Mapping[str, Told] = NOTHING_TOLD) -> None:
        for purchase_id in purchase_ids:
            for future in self._futures.pop(purchase_id, ()):
                if not future.done():
                    future.set_result(told.get(purchase_id))

    def close(self) -> None:
        """Wake all; later calls of `expect` do not wait. For a process that is stopping."""
        self._closed = True
        self.wake(list(self._futures))

    def ids(self) -> list[str]:
        return list(self._futures)

    def _limits(
        self, waiter: Waiter, at_most_each: int | None = None
    ) -> Iterator[tuple[Hashable, int]]:
        """What this one counts for, and how many of it may wait."""
        yield waiter, at_most_each or self._at_most_each
        if waiter.buyer is not None:
            yield waiter.user_id, self._at_most_of_keys


class WaitLimit:
    """How long a client waits: `seconds` at most, or until it disconnects.

    Args:
        seconds: the limit.
        client_leaves: of the request, whose body was read to its end.
    """

    __slots__ = ("_client_leaves", "_ends_at")

    def __init__(self, seconds: float, client_leaves: ClientLeaves) -> None:
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._client_leaves = client_leaves

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._ends_at

    async def wait_for(self, decision: asyncio.Future[Any]) -> None:
        """Wait for a future, such as one of `Waiters`, up to the limit.

        Thousands wait at once, so there is one future and one timer for each, and no task.

        Raises:
            ClientLeft: it disconnected before the decision.
        """
        if decision.done():
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def end(_future: object = None) -> None:
            if not over.done():
                over.set_result(None)

        left = self._client_leaves()
        timer = loop.call_at(self._ends_at, end, context=NO_CONTEXT)
        for future in (decision, left):
            future.add_done_callback(end, context=NO_CONTEXT)
        try:
            await over
        finally:
            timer.cancel()
            for future in (decision, left):
                future.remove_done_callback(end)
            if isinstance(left, asyncio.Task):
                left.cancel()
        if left.done() and not decision.done():
            raise ClientLeft


class DecisionListener:
    """Wakes waiters at each message of a worker, and by reading the database in between."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        waiters: Waiters,
        pace: Pace,
        observe: Callable[[DecidedBatch], None] | None = None,
    ) -> None:
        self._engine = engine
        self._waiters = waiters
        self._observe = observe
        self._pace = pace
        self._rechecks_skipped = 0
        self._database = database_number(settings)
        self._subscription = Subscription(settings, DECIDED_CHANNEL, self._wake_decided)
        self._rechecks = Periodic(
            self._recheck, settings.wait_recheck_seconds, logger, "recheck_failed"
        )
        # Of the events that were waited for at the last look.
        self._numbers: dict[int, int] = {}
        self._ledger_rechecks = Periodic(
            self._recheck_ledgers, LEDGER_RECHECK_SECONDS, logger, "ledger_recheck_failed"
        )

    def start(self) -> None:
        self._subscription.start()
        self._rechecks.start()
        self._ledger_rechecks.start()

    async def stop(self) -> None:
        await self._subscription.stop()
        await self._rechecks.stop()
        await self._ledger_rechecks.stop()

    def _wake_decided(self, message: bytes) -> None:
        batch = msgspec.msgpack.decode(message, type=DecidedBatch)
        if self._observe is not None:
            self._observe(batch)
        for event_id, decided in batch.decided.items():
            self._pace.observe(event_id, decided, batch.seconds)
        told: dict[str, Told] = {
            id_: Outcome(status, batch.resolved_at.get(id_, batch.at))
            for id_, status in batch.resolved.items()
        }
        if batch.database == self._database:
            told.update(batch.results)
        self._waiters.wake(batch.ids, told)
        self._waiters.wake(map(ledger_of, batch.events))

    async def _recheck(self) -> None:
        if (
            self._subscription.is_subscribed
            and self._rechecks_skipped < RECHECKS_SKIPPED_WHILE_SUBSCRIBED
        ):
            self._rechecks_skipped += 1
            return
        self._rechecks_skipped = 0
        waiting = [id_ for id_ in self._waiters.ids() if not id_.startswith(LEDGER)]
        try:
            for start in range(0, len(waiting), RECHECK_ROWS):
                ids = waiting[start : start + RECHECK_ROWS]
                self._waiters.wake(await asyncio.to_thread(read.decided_among, self._engine, ids))
        except DATABASE_UNAVAILABLE as error:
            logger.warning("recheck_unavailable", error=str(error))

    async def _recheck_ledgers(self) -> None:
        """Wake those who wait for an event that has other entries than at the last look."""
        keys = [id_ for id_ in self._waiters.ids() if id_.startswith(LEDGER)]
        events = [int(key.removeprefix(LEDGER)) for key in keys]
        known, self._numbers = self._numbers, {}
        if not events:
            return
        try:
            self._numbers = await asyncio.to_thread(read.numbers_of, self._engine, events)
        except DATABASE_UNAVAILABLE as error:
            logger.warning("recheck_unavailable", error=str(error))
        else:
            changed = [id_ for id_, number in self._numbers.items() if known.get(id_) != number]
            self._waiters.wake(map(ledger_of, changed))
