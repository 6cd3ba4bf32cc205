"""Finds what is to be sent, and sends it: in order for each webhook and event.

A message of a worker says that an event has new entries; without it, a poll finds them. Any number
of senders may run: each takes cursors for a time (store.py).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Engine

from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN
from shared.errors import Unavailable
from shared.failpoints import reached
from shared.messaging.subscription import Subscription
from shared.observability.logging import get_logger
from shared.purchases import DECIDED_CHANNEL, DecidedBatch
from webhook_sender import metrics, store
from webhook_sender.ledgers import ENTRIES_MAX, Ledgers
from webhook_sender.request import Requests
from webhook_sender.schedule import Disable, Outcome, Received, Schedule, next_step
from webhook_sender.store import IN_FLIGHT_OF_WEBHOOK, Claim, Delivery, Test

DATABASE_THREADS = 4
# Threads wait for the database; so many calls may wait for a thread.
WAITING_MAX = 10_000
# In a rush, messages come by the hundred: they are looked at together.
GATHER_MESSAGES_SECONDS = 0.02
# A delivery that is not full is followed by the next after this time, with what has come by then.
GATHER_ENTRIES_SECONDS = 0.5
POLLS_SKIPPED_WHILE_SUBSCRIBED = 5
# A poll reads the cursors of all webhooks: at most a tenth of the time.
POLL_SHARE = 0.1
CLEAN_SECONDS = 60.0
BEAT_SECONDS = 1.0
# Then another event of the same webhook has its turn.
TURN_DELIVERIES = 20
AWAY = (*DATABASE_UNAVAILABLE, *TRY_AGAIN, Unavailable)

P = ParamSpec("P")
T = TypeVar("T")

logger = get_logger(__name__)


class Sender:
    """Open it in a running event loop."""

    def __init__(self, settings: Settings, engine: Engine, requests: Requests) -> None:
        self._settings = settings
        self._engine = engine
        self._requests = requests
        self._ledgers = Ledgers()
        self._schedule = Schedule(
            settings.webhook_retry_first_seconds,
            settings.webhook_retry_max_seconds,
            settings.webhook_give_up_seconds,
        )
        self._threads = BoundedExecutor(
            "database", threads=DATABASE_THREADS, waiting_max=WAITING_MAX
        )
        self._messages = Subscription(settings, DECIDED_CHANNEL, self._hear)
        self._lease_seconds = settings.webhook_lease_seconds
        # What this sender is at, each with its task; and whether it failed at its last attempt.
        self._tasks: dict[Claim, asyncio.Task[None]] = {}
        self._failing: set[Claim] = set()
        self._tests: set[asyncio.Task[None]] = set()
        # Events with new entries; and claims whose task may have looked before they came.
        self._woken: set[int] = set()
        self._missed: set[Claim] = set()
        self._wakeup = asyncio.Event()
        self._is_stopping = False
        self._poll_at = 0.0
        self._clean_at = 0.0
        self._polls_skipped = POLLS_SKIPPED_WHILE_SUBSCRIBED  # the first one is not
        # No poll before, or they would keep the database busy.
        self._poll_not_before = 0.0
        # Some may have been left, for want of room.
        self._is_full = False

    async def run(self, stopping: asyncio.Event, beat: Callable[[], None]) -> None:
        """Send until `stopping`; then end what is being sent.

        Args:
            stopping: set when the process is to stop.
            beat: called about once a second.
        """
        self._messages.start()
        waits = asyncio.create_task(self._stop_when(stopping))
        while not self._is_stopping:
            beat()
            try:
                await self._turn()
            except AWAY as error:
                logger.warning("webhook_poll_interrupted", error=str(error))
                self._poll_at = time.monotonic() + self._settings.webhook_poll_seconds
            await self._sleep()
        await waits
        await self._messages.stop()
        await self._end_requests()
        self._threads.close()

    async def _stop_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._is_stopping = True
        self._wakeup.set()

    async def _sleep(self) -> None:
        """Until there is something to do, or the next poll is due."""
        await asyncio.sleep(GATHER_MESSAGES_SECONDS)
        left = min(self._poll_at - time.monotonic(), BEAT_SECONDS)
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._wakeup.wait()
        except TimeoutError:
            pass
        self._wakeup.clear()

    def _hear(self, message: bytes) -> None:
        batch = msgspec.msgpack.decode(message, type=DecidedBatch)
        self._woken.update(batch.events)
        self._wakeup.set()

    async def _turn(self) -> None:
        """Claim what is woken, or everything if a poll is due, and send it."""
        woken, self._woken = self._woken, set()
        if woken:
            self._missed.update(claim for claim in self._tasks if claim.event_id in woken)
            await self._claim(woken)
        if time.monotonic() < self._poll_at:
            return
        began = time.monotonic()
        self._poll_at = began + self._settings.webhook_poll_seconds
        await self._send_tests()
        skips = POLLS_SKIPPED_WHILE_SUBSCRIBED if self._messages.is_subscribed else 0
        if self._polls_skipped < skips:
            self._polls_skipped += 1
            return
        self._polls_skipped = 0
        began = time.monotonic()
        await self._call(store.follow_new_events)
        await self._claim(None)
        state = await self._call(store.state)
        metrics.LAG_SECONDS.set(state.lag_seconds)
        metrics.FAILING.set(state.failing)
        metrics.POLLED_TIMESTAMP_SECONDS.set_to_current_time()
        if began >= self._clean_at:
            self._clean_at = began + CLEAN_SECONDS
            await self._call(store.clean)
        took = time.monotonic() - began
        self._poll_not_before = time.monotonic() + took / POLL_SHARE
        self._poll_at = max(self._poll_at, self._poll_not_before)

    def _poll_soon(self) -> None:
        self._is_full = False
        self._polls_skipped = POLLS_SKIPPED_WHILE_SUBSCRIBED
        self._poll_at = self._poll_not_before
        self._wakeup.set()

    async def _claim(self, events: Collection[int] | None) -> None:
        """Of webhooks that fail, a poll finds what is due."""
        most = self._settings.webhook_deliveries_max
        for failing in (False,) if events is not None else (False, True):
            room = most - len(self._tasks)
            if failing:  # receivers that hang keep half of the room free for the others
                room = min(room, most // 2 - len(self._failing))
            claims = await self._call(
                store.claim,
                events,
                Counter(claim.webhook_id for claim in self._tasks),
                failing=failing,
                limit=room,
                lease_seconds=self._lease_seconds,
            )
            for claim in claims:
                if failing:
                    self._failing.add(claim)
                task = asyncio.create_task(self._work(claim))
                self._tasks[claim] = task
            at_work = Counter(claim.webhook_id for claim in self._tasks)
            if not failing and (
                len(self._tasks) >= most
                or any(at_work[claim.webhook_id] >= IN_FLIGHT_OF_WEBHOOK for claim in claims)
            ):
                self._is_full = True
        metrics.IN_PROGRESS.set(len(self._tasks))

    async def _work(self, claim: Claim) -> None:
        """Send of one event to one webhook, until there is nothing or it fails."""
        try:
            for nth in range(1, TURN_DELIVERIES + 1):
                is_last = nth == TURN_DELIVERIES
                if not await self._deliver(claim, is_last=is_last) or self._is_stopping:
                    break
        except AWAY as error:
            # The claim ends by itself.
            logger.warning(
                "webhook_delivery_interrupted", webhook=claim.webhook_id, error=str(error)
            )
        except Exception:
            logger.exception(
                "webhook_delivery_broken", webhook=claim.webhook_id, events=[claim.event_id]
            )
        finally:
            del self._tasks[claim]
            self._failing.discard(claim)
            metrics.IN_PROGRESS.set(len(self._tasks))
            if self._is_full:
                self._poll_soon()
            if claim in self._missed:
                self._missed.discard(claim)
                self._woken.add(claim.event_id)
                self._wakeup.set()

    async def _deliver(self, claim: Claim, *, is_last: bool) -> bool:
        """One delivery; whether there may be more to send now. `is_last`: of its turn."""
        self._missed.discard(claim)
        found = await self._call(store.prepare, self._ledgers, claim, self._lease_seconds)
        if not isinstance(found, Delivery):
            if found.more:
                self._missed.add(claim)
            return False
        reached("before_webhook_request")
        began = time.monotonic()
        outcome = await self._requests.send(found.message)
        reached("after_webhook_request")
        self._count(outcome)
        step = next_step(
            outcome, found.failures, found.failing_seconds, self._schedule, random.random
        )
        if not isinstance(step, Received):
            disabled = await self._call(store.failed, found, outcome, step)
            _log_failure(found, outcome)
            if disabled and isinstance(step, Disable):
                metrics.DISABLED.labels(step.reason).inc()
                logger.warning("webhook_disabled", webhook=claim.webhook_id, reason=step.reason)
            return False
        metrics.ENTRIES.inc(found.entries)
        lease_seconds = 0 if is_last or self._is_stopping else self._lease_seconds
        await self._call(store.received, found, outcome, lease_seconds)
        reached("after_webhook_received")
        if claim in self._failing:
            self._poll_soon()  # it is well again: what else of it failed may be due
        if is_last:
            self._missed.add(claim)
        elif found.entries < ENTRIES_MAX:
            await asyncio.sleep(began + GATHER_ENTRIES_SECONDS - time.monotonic())
        return True

    async def _send_tests(self) -> None:
        room = self._settings.webhook_deliveries_max - len(self._tests)
        for test in await self._call(store.take_tests, room):
            task = asyncio.create_task(self._test(test))
            self._tests.add(task)
            task.add_done_callback(self._tests.discard)

    async def _test(self, test: Test) -> None:
        outcome = await self._requests.send(test.message)
        self._count(outcome)
        try:
            await self._call(store.note_test, test, outcome)
        except AWAY as error:
            logger.warning(
                "webhook_delivery_interrupted", webhook=test.webhook_id, error=str(error)
            )

    async def _end_requests(self) -> None:
        """Let requests end within `shutdown_seconds`; another sender has the others at once."""
        claims = list(self._tasks)
        under_way = [*self._tasks.values(), *self._tests]
        if under_way:
            await asyncio.wait(under_way, timeout=self._settings.shutdown_seconds)
        for task in [*self._tasks.values(), *self._tests]:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        try:
            await self._call(store.release, claims)
        except AWAY as error:
            logger.warning("webhook_poll_interrupted", error=str(error))

    async def _call(
        self, work: Callable[Concatenate[Engine, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._threads.run(work, self._engine, *args, **kwargs)

    @staticmethod
    def _count(outcome: Outcome) -> None:
        metrics.DELIVERIES.labels(outcome.failure or metrics.RECEIVED).inc()
        metrics.DELIVERY_SECONDS.observe(outcome.milliseconds / 1e3)


def _log_failure(delivery: Delivery, outcome: Outcome) -> None:
    logger.info(
        "webhook_delivery_failed",
        webhook=delivery.claim.webhook_id,
        events=[delivery.claim.event_id],
        delivery=delivery.message.id,
        attempt=delivery.failures + 1,
        failure=outcome.failure,
        status=outcome.status,
        milliseconds=outcome.milliseconds,
    )
