"""Finds what is to be sent, and sends it: in order for each webhook and event.

A message of a worker says that an event has new entries; without it, a poll finds them, and what is
to be tried again. Any number of senders may run: each takes cursors for a time (store.py).

It works in turns: what was sent since the last one is noted, cursors are claimed, and what is next
of all of them is prepared together, for each statement costs as much as many rows.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
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
from webhook_sender.ledgers import Ledgers
from webhook_sender.request import Requests
from webhook_sender.schedule import (
    GATHER_ENTRIES_SECONDS,
    Disable,
    Outcome,
    Received,
    Retry,
    Schedule,
    gather_seconds,
    next_step,
)
from webhook_sender.store import IN_FLIGHT_OF_WEBHOOK, Attempt, Claim, Delivery, Test

DATABASE_THREADS = 4
# Threads wait for the database; so many calls may wait for a thread.
WAITING_MAX = 10_000
# Messages, and deliveries where so many are under way, are gathered for this time.
GATHER_SECONDS = 0.02
GATHER_DELIVERIES = 10
# The database is away.
INTERRUPTED_SECONDS = 0.2
# Of as many events that differ, each is read by itself.
PREPARE_TOGETHER = 50
# Failures in a transaction, which locks their webhooks.
NOTE_TOGETHER = 200
# A poll reads the cursors of all webhooks: at most a tenth of the time, but for a slow one, which
# may have been one of a bad moment.
POLL_SHARE = 0.1
POLL_PAUSE_MAX_SECONDS = 5.0
CLEAN_SECONDS = 60.0
SLOW_MILLISECONDS = 2_000
BEAT_SECONDS = 1.0
# Under way at once, of all webhooks: with one for each that hangs, deliveries have their own room.
TESTS_MAX = 50
# Then another event of the same webhook has its turn.
TURN_DELIVERIES = 20
AWAY = (*DATABASE_UNAVAILABLE, *TRY_AGAIN, Unavailable)

P = ParamSpec("P")
T = TypeVar("T")

logger = get_logger(__name__)


@dataclass(slots=True)
class _Work:
    """`deliveries`: of its turn, after which another event of the same webhook has one.

    `at`, `last`: when its newest delivery was prepared, and the last number of the event then.
    """

    is_failing: bool
    deliveries: int = 0
    at: float = 0.0
    last: int = 0
    per_second: float = 0.0

    def prepared(self, last: int) -> None:
        now = time.monotonic()
        self.per_second = (last - self.last) / (now - self.at) if self.last else 0.0
        self.at, self.last = now, last


class Sender:
    """Open it in a running event loop.

    Attributes:
        slow: webhooks whose last response was slow: they have the room of those that fail.
    """

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
        # What this sender is at; of these, what is to be prepared, and what was sent.
        self._work: dict[Claim, _Work] = {}
        self._ready: list[Claim] = []
        self._sent: dict[Claim, tuple[Delivery, Outcome]] = {}
        self.slow: set[int] = set()
        self._requests_under_way: set[asyncio.Task[None]] = set()
        self._tests: dict[asyncio.Task[None], int] = {}
        # Events with new entries; and when events were looked at.
        self._woken: set[int] = set()
        self._looked_at: dict[int, float] = {}
        self._wakeup = asyncio.Event()
        # As of the last poll: without any, messages are not followed.
        self._has_webhooks = False
        self._is_stopping = False
        self._poll_at = 0.0
        self._clean_at = 0.0
        # Webhooks with attempts since they were cleaned.
        self._attempted: set[int] = set()
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
                again_at = time.monotonic() + self._settings.webhook_poll_seconds
                self._poll_at = max(again_at, self._poll_not_before)
                await asyncio.sleep(INTERRUPTED_SECONDS)
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
        if self._ready:
            return
        looked_at = [self._looked_at.get(event, 0.0) for event in self._woken]
        again_at = min(looked_at, default=inf) + GATHER_ENTRIES_SECONDS
        left = min(self._poll_at, again_at) - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, BEAT_SECONDS))):
                await self._wakeup.wait()
        except TimeoutError:
            pass
        share = 1.0 if self._woken else min(1.0, len(self._work) / GATHER_DELIVERIES)
        await asyncio.sleep(share * GATHER_SECONDS)
        self._wakeup.clear()

    def _hear(self, message: bytes) -> None:
        if not self._has_webhooks:
            return
        batch = msgspec.msgpack.decode(message, type=DecidedBatch)
        self._woken.update(batch.events)
        self._wakeup.set()

    async def _turn(self) -> None:
        """Note what was sent; claim what is woken, or everything if a poll is due; send it."""
        await self._note()
        if woken := self._take_woken():
            await self._follow(woken)
            await self._claim(woken)
        await self._poll()
        await self._prepare()

    def _take_woken(self) -> set[int]:
        """Those that were not looked at just now; the others are left for later."""
        now = time.monotonic()
        since = now - GATHER_ENTRIES_SECONDS
        self._looked_at = {event: at for event, at in self._looked_at.items() if at > since}
        woken = self._woken - self._looked_at.keys()
        self._woken -= woken
        self._looked_at |= dict.fromkeys(woken, now)
        return woken

    async def _poll(self) -> None:
        began = time.monotonic()
        if began < self._poll_at:
            return
        self._poll_at = began + self._settings.webhook_poll_seconds
        try:
            await self._poll_database()
        finally:  # also of what it was too slow for
            ended = time.monotonic()
            pause = min((ended - began) / POLL_SHARE, POLL_PAUSE_MAX_SECONDS)
            self._poll_not_before = ended + pause
            self._poll_at = max(self._poll_at, self._poll_not_before)

    async def _poll_database(self) -> None:
        # Before the claim of everything: so what comes meanwhile is heard or claimed.
        self._has_webhooks = await self._call(store.has_webhooks)
        await self._send_tests()
        follows = await self._follow(None)
        await self._claim(None)
        state = await self._call(store.state)
        metrics.LAG_SECONDS.set(state.lag_seconds)
        metrics.FAILING.set(state.failing)
        if follows:
            metrics.POLLED_TIMESTAMP_SECONDS.set_to_current_time()
        if (now := time.monotonic()) >= self._clean_at:
            self._clean_at = now + CLEAN_SECONDS
            await self._clean()

    async def _clean(self) -> None:
        attempted = frozenset(self._attempted)
        await self._call(store.clean, attempted, self._lease_seconds, self._schedule.max_seconds)
        self._attempted -= attempted
        slow = frozenset(self.slow)
        self.slow -= slow - await self._call(store.enabled_among, slow)

    def _poll_soon(self) -> None:
        self._is_full = False
        self._poll_at = self._poll_not_before
        self._wakeup.set()

    async def _follow(self, events: Collection[int] | None) -> bool:
        """If that fails, what is followed already is sent; a later poll follows the others."""
        try:
            await self._call(store.follow_new_events, events)
        except AWAY as error:
            logger.warning("webhook_follow_failed", error=str(error))
            return False
        return True

    async def _claim(self, events: Collection[int] | None) -> None:
        """Of webhooks that fail or are slow, a poll finds what is due."""
        most = self._settings.webhook_deliveries_max
        for failing in (False,) if events is not None else (False, True):
            room = most - len(self._work)
            if failing:  # receivers that hang keep half of the room free for the others
                at_failing = sum(work.is_failing for work in self._work.values())
                room = min(room, most // 2 - at_failing)
            claims = await self._call(
                store.claim,
                events,
                Counter(claim.webhook_id for claim in self._work),
                slow=self.slow,
                failing=failing,
                limit=room,
                lease_seconds=self._lease_seconds,
            )
            self._work |= {claim: _Work(failing) for claim in claims}
            self._ready += claims
            at_work = Counter(claim.webhook_id for claim in self._work)
            if not failing and (
                len(self._work) >= most
                or any(at_work[claim.webhook_id] >= IN_FLIGHT_OF_WEBHOOK for claim in claims)
            ):
                self._is_full = True
        metrics.IN_PROGRESS.set(len(self._work))

    async def _prepare(self) -> None:
        """Send what is next of those that are ready."""
        claims, self._ready = self._ready[:PREPARE_TOGETHER], self._ready[PREPARE_TOGETHER:]
        if not claims or self._is_stopping:
            return
        found = store.Found([], [])
        try:
            found = await self._call(store.prepare, self._ledgers, claims, self._lease_seconds)
        except AWAY:
            self._ready += claims
            raise
        except Exception:
            logger.exception("webhook_delivery_broken", events=[each.event_id for each in claims])
        for claim in {*claims} - {each.claim for each in found.deliveries} - {*found.again}:
            self._end(claim)
        self._ready += found.again
        for delivery in found.deliveries:
            self._work[delivery.claim].prepared(delivery.last_of_event)
            task = asyncio.create_task(self._send(delivery))
            self._requests_under_way.add(task)
            task.add_done_callback(self._requests_under_way.discard)

    async def _send(self, delivery: Delivery) -> None:
        reached("before_webhook_request")
        try:
            outcome = await self._requests.send(delivery.message)
        except Exception:
            logger.exception("webhook_delivery_broken", webhook=delivery.claim.webhook_id)
            self._end(delivery.claim)
            return
        reached("after_webhook_request")
        self._count(outcome)
        if outcome.milliseconds >= SLOW_MILLISECONDS:
            self.slow.add(delivery.claim.webhook_id)
        else:
            self.slow.discard(delivery.claim.webhook_id)
        self._sent[delivery.claim] = (delivery, outcome)
        self._wakeup.set()

    async def _note(self) -> None:
        """What cannot be noted now, is noted in the next turn."""
        self._attempted |= {claim.webhook_id for claim in self._sent}
        while failed := [each for each in self._sent.values() if each[1].failure is not None]:
            await self._note_failed(failed[:NOTE_TOGETHER])
        if not (sent := list(self._sent.values())):
            return
        attempts = [Attempt(*each, self._lease_after(each[0].claim)) for each in sent]
        await self._call(store.received, attempts)
        reached("after_webhook_received")
        for delivery, _, lease_seconds in attempts:
            del self._sent[delivery.claim]
            metrics.ENTRIES.inc(delivery.entries)
            self._go_on(delivery, ends=not lease_seconds)

    def _lease_after(self, claim: Claim) -> float:
        """0: its turn ends."""
        is_last = self._work[claim].deliveries + 1 >= TURN_DELIVERIES
        return 0 if is_last or self._is_stopping else self._lease_seconds

    def _go_on(self, delivery: Delivery, *, ends: bool) -> None:
        """After a delivery that was received."""
        claim, work = delivery.claim, self._work[delivery.claim]
        work.deliveries += 1
        if work.is_failing:
            self._poll_soon()  # it is well again: what else of it failed may be due
        if ends:
            self._end(claim)
            self._woken.add(claim.event_id)
        else:
            first, last = delivery.first or 0, delivery.last or 0
            after = (
                work.at
                - time.monotonic()
                + gather_seconds(
                    delivery.entries, last - first + 1, work.last - last, work.per_second
                )
            )
            if after <= 0:
                self._ready.append(claim)
            else:
                asyncio.get_running_loop().call_later(after, self._gathered, claim)

    def _gathered(self, claim: Claim) -> None:
        self._ready.append(claim)
        self._wakeup.set()

    async def _note_failed(self, failed: list[tuple[Delivery, Outcome]]) -> None:
        """Together those that are tried again; by itself each that disables its webhook."""
        retries: list[Attempt] = []
        disables: list[tuple[Attempt, Disable]] = []
        for delivery, outcome in failed:
            step = next_step(
                outcome, delivery.failures, delivery.failing_seconds, self._schedule, random.random
            )
            assert not isinstance(step, Received)
            if isinstance(step, Retry):
                retries.append(Attempt(delivery, outcome, step.after_seconds))
            else:
                disables.append((Attempt(delivery, outcome, 0), step))
        if retries:
            await self._call(store.failed, retries)
        for retry in retries:
            self._end_failed(retry)
        for attempt, disable in disables:
            disabled = await self._call(store.disable, attempt, disable.reason)
            self._end_failed(attempt)
            if disabled:
                metrics.DISABLED.labels(disable.reason).inc()
                webhook = attempt.delivery.claim.webhook_id
                logger.warning("webhook_disabled", webhook=webhook, reason=disable.reason)

    def _end_failed(self, attempt: Attempt) -> None:
        del self._sent[attempt.delivery.claim]
        self._end(attempt.delivery.claim)
        _log_failure(attempt.delivery, attempt.outcome)

    def _end(self, claim: Claim) -> None:
        del self._work[claim]
        metrics.IN_PROGRESS.set(len(self._work))
        if self._is_full:
            self._poll_soon()

    async def _send_tests(self) -> None:
        room = TESTS_MAX - len(self._tests)
        for test in await self._call(store.take_tests, room, set(self._tests.values())):
            task = asyncio.create_task(self._test(test))
            self._tests[task] = test.webhook_id
            task.add_done_callback(self._tests.pop)

    async def _test(self, test: Test) -> None:
        outcome = await self._requests.send(test.message)
        self._count(outcome)
        try:
            await self._call(store.note_test, test, outcome)
            self._attempted.add(test.webhook_id)
        except AWAY as error:
            logger.warning(
                "webhook_delivery_interrupted", webhook=test.webhook_id, error=str(error)
            )

    async def _end_requests(self) -> None:
        """Let requests end within `shutdown_seconds`; another sender has the others at once."""
        under_way = [*self._requests_under_way, *self._tests]
        if under_way:
            await asyncio.wait(under_way, timeout=self._settings.shutdown_seconds)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        try:
            await self._note()
            await self._call(store.release, list(self._work))
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
