"""Clients that wait for a decision, and what wakes them: Redis, or else the database."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import msgspec
import redis
from sqlalchemy import Engine

from gateway import metrics
from gateway.purchases import store
from gateway.purchases.pace import Pace
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import ClientLeft
from shared.messaging.redis_client import open_async_redis
from shared.observability.logging import get_logger
from shared.purchases import DECIDED_CHANNEL, DecidedBatch
from shared.web.asgi_extensions import ClientLeaves

# While Redis is listened to, so many looks into the database are left out between two.
RECHECKS_SKIPPED_WHILE_TOLD = 5
# A channel that is silent for so long is asked whether it lives, and has as long to answer.
LISTEN_SECONDS = 1.0
# Between two tries to listen to Redis.
RECONNECT_SECONDS = 1.0
# Ids in one look-up: a few milliseconds of an index.
RECHECK_ROWS = 2_000

logger = get_logger(__name__)


class Waiters:
    """One future for each client that waits.

    Nothing here takes longer the more clients wait for one purchase: its owner may open any number
    of connections and close them in any order.

    Args:
        at_most: clients that may wait at a time.
        at_most_each: the same for each user, so that one cannot take the places of all others.
    """

    def __init__(self, at_most: int, at_most_each: int) -> None:
        self._futures: dict[str, set[asyncio.Future[None]]] = {}
        self._at_most = at_most
        self._at_most_each = at_most_each
        # Held until forgotten: a client that goes on waiting at once finds room again.
        self._places: dict[asyncio.Future[None], int] = {}
        self._by_user: Counter[int] = Counter()
        self._closed = False

    @property
    def count(self) -> int:
        """How many clients wait."""
        return len(self._places)

    @property
    def is_closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def is_full(self, user_id: int) -> bool:
        """Whether there is no room for this user."""
        return self.count >= self._at_most or self._by_user[user_id] >= self._at_most_each

    def expect(self, purchase_id: str, user_id: int) -> asyncio.Future[None]:
        """A future that is done at the decision; expect first, then look, then wait.

        Where this user may not wait it is done from the start. `forget` it in the end.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._closed or self.is_full(user_id):
            future.set_result(None)
        else:
            self._futures.setdefault(purchase_id, set()).add(future)
            self._places[future] = user_id
            self._by_user[user_id] += 1
            metrics.CLIENTS_WAITING.set(self.count)
        return future

    def forget(self, purchase_id: str, future: asyncio.Future[None]) -> None:
        """The client has its answer, or is gone."""
        user_id = self._places.pop(future, None)
        if user_id is None:
            return
        self._by_user[user_id] -= 1
        if not self._by_user[user_id]:
            del self._by_user[user_id]
        metrics.CLIENTS_WAITING.set(self.count)
        waiting = self._futures.get(purchase_id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._futures[purchase_id]

    def wake(self, purchase_ids: Iterable[str]) -> None:
        for purchase_id in purchase_ids:
            for future in self._futures.pop(purchase_id, ()):
                if not future.done():
                    future.set_result(None)

    def close(self) -> None:
        """Wake all, and let nobody wait any more: the process is stopping."""
        self._closed = True
        self.wake(list(self._futures))

    def ids(self) -> list[str]:
        return list(self._futures)


class WaitLimit:
    """How long a client waits: `seconds`, or until it leaves.

    Args:
        seconds: at most.
        client_leaves: of the request, whose body was read to its end.
    """

    def __init__(self, seconds: float, client_leaves: ClientLeaves) -> None:
        self._seconds = seconds
        self._client_leaves = client_leaves

    async def wait_for(self, decision: asyncio.Future[None]) -> None:
        """Wait for a future of `Waiters`, as long as patience lasts.

        Thousands wait at once, so there is one future and one timer for each, and no task.

        Raises:
            ClientLeft: before the decision.
        """
        if decision.done():
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def end(_future: asyncio.Future[None] | None = None) -> None:
            if not over.done():
                over.set_result(None)

        left = self._client_leaves()
        timer = loop.call_later(self._seconds, end)
        for future in (decision, left):
            future.add_done_callback(end)
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
    """Wakes waiters at each message of a worker, and looks into the database in between."""

    def __init__(self, settings: Settings, engine: Engine, waiters: Waiters, pace: Pace) -> None:
        self._settings = settings
        self._engine = engine
        self._waiters = waiters
        self._pace = pace
        self._is_told = False
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen_for_ever()),
            asyncio.create_task(self._recheck_for_ever()),
        ]

    async def stop(self) -> None:
        # A cancellation alone does not end it: redis-py swallows one that meets it connecting.
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen_for_ever(self) -> None:
        while not self._stopping:
            try:
                await self._listen()
            except (redis.RedisError, OSError) as error:
                logger.warning("redis_subscription_lost", error=str(error))
            except Exception:
                # Whatever it is, those who wait must go on being woken.
                logger.exception("subscription_failed")
            finally:
                self._is_told = False
            if not self._stopping:
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        client = open_async_redis(self._settings)
        async with client, client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(DECIDED_CHANNEL)
            self._is_told = True
            was_asked = False
            while not self._stopping:
                message = await subscription.get_message(timeout=LISTEN_SECONDS)
                if message is None:
                    # redis-py's own health check asks, and never misses the answer.
                    if was_asked:
                        raise redis.TimeoutError("no answer to a PING")
                    await subscription.ping()
                    was_asked = True
                    continue
                was_asked = False
                if message["type"] == "message":
                    self._hear(message["data"])

    def _hear(self, message: bytes) -> None:
        batch = msgspec.msgpack.decode(message, type=DecidedBatch)
        for ticket_type_id, decided in batch.decided.items():
            self._pace.observe(ticket_type_id, decided, batch.seconds)
        self._waiters.wake(batch.ids)

    async def _recheck_for_ever(self) -> None:
        skipped = 0
        while True:
            await asyncio.sleep(self._settings.wait_recheck_seconds)
            if self._is_told and skipped < RECHECKS_SKIPPED_WHILE_TOLD:
                skipped += 1
                continue
            skipped = 0
            try:
                await self._recheck()
            except DATABASE_UNAVAILABLE as error:
                logger.warning("recheck_unavailable", error=str(error))
            except Exception:
                logger.exception("recheck_failed")

    async def _recheck(self) -> None:
        waiting = self._waiters.ids()
        for start in range(0, len(waiting), RECHECK_ROWS):
            ids = waiting[start : start + RECHECK_ROWS]
            self._waiters.wake(await asyncio.to_thread(store.decided_among, self._engine, ids))
