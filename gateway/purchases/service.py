"""Accepts purchase requests, and wires the parts that the purchase routes need."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine
from uuid_utils import uuid7

from gateway import metrics
from gateway.batcher import Batcher
from gateway.purchases import store
from gateway.purchases.accept import (
    Accepted,
    PurchaseRequest,
    Replayed,
    Verdict,
    queued_purchase,
)
from gateway.purchases.backlog import BacklogGauge
from gateway.purchases.look_up import PurchaseAnswer, PurchaseLookUp
from gateway.purchases.pace import Pace
from gateway.purchases.request_body import PurchaseInput, fingerprint
from gateway.purchases.stages import SlowPurchases
from gateway.purchases.traces import PurchaseTraces
from gateway.purchases.waiting import DecisionListener, Waiter, Waiters, WaitLimit
from gateway.purchases.wakeups import WakeupSender
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from shared.config.settings import Settings
from shared.errors import NotYourEvent, Problem, Unavailable
from shared.failpoints import reached


def _bucket(user_id: int, buyer: str) -> int | str:
    """No names in Redis; and of a bounded length."""
    return f"{user_id}:{sha256(buyer.encode()).hexdigest()[:32]}" if buyer else user_id


def _waiter(user_id: int, key_id: int | None, wanted: PurchaseInput) -> Waiter:
    return Waiter(user_id, None if key_id is None else wanted.buyer)


def _foreign_bucket(user_id: int, wanted: PurchaseInput) -> str:
    """Of one ticket type: what is asked of others' stops no buyer of the user's own."""
    return f"{user_id}:foreign:{wanted.lines[0].ticket_type}"


class PurchaseService:
    """`start` it in the event loop before the first request, `stop` it after the last."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        traces: PurchaseTraces | None = None,
    ) -> None:
        self._settings = settings
        self._traces = traces
        self._engine = engine
        self._limits = store.Limits(settings.position_max_rows, settings.expired_holds_max)
        self._pace = Pace()
        self.waiters = Waiters(
            settings.waiting_max_rows,
            settings.waiting_max_rows_of_user,
            settings.waiting_max_rows_of_keys,
        )
        self._limit = UserLimit(settings)
        key_rate = Rate(settings.key_rate_burst, settings.key_rate_per_second)
        self._key_limit = UserLimit(settings, "keys", key_rate)
        self.wakeups = WakeupSender(settings, traces)
        self.look_up = PurchaseLookUp(settings, engine, self.waiters, self._pace)
        self._slow = SlowPurchases(settings.slow_purchase_seconds)
        observe = self._slow.decided if self._slow.is_on else None
        self._listener = DecisionListener(settings, engine, self.waiters, self._pace, observe)
        self._backlog = BacklogGauge(settings, engine)
        self._accepting: Batcher[PurchaseRequest, Accepted | Replayed] = Batcher(
            "accept",
            self._accept,
            batch_rows=settings.accept_batch_rows,
            threads=settings.accept_writers,
            pending_max_rows=settings.accept_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    def start(self) -> None:
        self.wakeups.start()
        self._listener.start()
        self._backlog.checks.start()

    @property
    def waiting(self) -> int:
        return self.waiters.count

    def stop_accepting(self) -> None:
        """Respond with 503 to new requests, and end all waits: the process is stopping."""
        self.waiters.close()

    async def stop(self) -> None:
        """Finish what was accepted, then close all connections."""
        self.stop_accepting()
        await self._limit.close()
        await self._key_limit.close()
        await self._accepting.close()
        await self.look_up.close()
        await self._listener.stop()
        await self._backlog.checks.stop()
        await asyncio.to_thread(self.wakeups.close)
        self._slow.close()

    async def buy(
        self,
        user_id: int,
        wanted: PurchaseInput,
        *,
        key_id: int | None = None,
        idempotency_key: str | None,
        request_id: str,
        traceparent: str | None = None,
        wait_limit: WaitLimit | None = None,
    ) -> PurchaseAnswer:
        """Accept a request durably, and wait for its decision up to `wait_limit`.

        Raises:
            TooManyRequests: of this user or buyer, or of the user's API keys.
            Unavailable: not accepted, or unknown: a retry with the same key finds out.
            Problem: the request cannot be accepted.
            ClientLeft: while it waited; what was accepted stays accepted.
        """
        stages = self._slow.received(request_id)
        if self.waiters.is_closed or self._backlog.is_full:
            raise Unavailable
        if key_id is not None:
            # A bucket for all keys of a user: more keys give no more requests.
            await self._key_limit.draw(user_id)
        # Invented buyers give nobody more requests for tickets of somebody else.
        if wanted.buyer:
            self._limit.raise_if_known_empty(_foreign_bucket(user_id, wanted))
        rate_limit = await self._limit.draw(_bucket(user_id, wanted.buyer))
        request = PurchaseRequest(
            id=str(uuid7()),
            user_id=user_id,
            lines=wanted.lines,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(wanted) if idempotency_key is not None else None,
            request_id=request_id,
            traceparent=traceparent,
            as_items=wanted.as_items,
            buyer=wanted.buyer,
            stages=stages,
        )
        self._slow.submitted(request)
        decision = None
        if wait_limit is not None:
            decision = self.waiters.expect(request.id, _waiter(user_id, key_id, wanted))
        try:
            verdict = await self._accepting.submit(request)
            if isinstance(verdict, Replayed):
                waiter = _waiter(user_id, key_id, wanted)
                answer = await self._replay(waiter, verdict.purchase_id, wait_limit)
                return replace(answer, replayed=True, rate_limit=rate_limit)
            if wait_limit is not None and decision is not None:
                await wait_limit.wait_for(decision)
                # The response to an accepted purchase is never a 503: then it is the 202.
                with suppress(Unavailable):
                    answer = await self.look_up.decided(user_id, request.id, decision)
                    return replace(answer, rate_limit=rate_limit)
        except NotYourEvent as refused:
            await self._limit.draw(_foreign_bucket(user_id, wanted))
            # The first line can be another each time, also of a ticket type that there is not.
            refused.headers.update(await self._limit.draw(f"{user_id}:foreign"))
            raise
        except Problem as problem:
            problem.headers.update(rate_limit)
            raise
        finally:
            if decision is not None:
                self.waiters.forget(request.id, decision)
            self._slow.answered(request)
        waits_seconds = self._pace.wait_seconds(verdict.event_id, verdict.position)
        body = queued_purchase(request, verdict, waits_seconds)
        return PurchaseAnswer(
            request.id, msgspec.json.encode(body), waits_seconds, rate_limit=rate_limit
        )

    async def _replay(
        self, waiter: Waiter, purchase_id: str, wait_limit: WaitLimit | None
    ) -> PurchaseAnswer:
        if wait_limit is None:
            return await self.look_up.read(waiter.user_id, purchase_id)
        return await self.look_up.wait(waiter, purchase_id, wait_limit)

    def _accept(self, requests: Sequence[PurchaseRequest]) -> list[Verdict]:
        """In a writer's thread: commit the batch, then send wake-ups."""
        began_ns = time.time_ns()
        reached("before_accept_commit")
        with metrics.ACCEPT_COMMIT_SECONDS.time():
            verdicts = store.accept(self._engine, requests, self._limits)
        committed_at = time.time()
        reached("after_accept_commit")
        metrics.ACCEPT_BATCH_ROWS.observe(len(requests))
        metrics.ACCEPTED.inc(sum(isinstance(verdict, Accepted) for verdict in verdicts))
        # The wake-up of a replayed purchase may have been lost with the gateway that accepted it.
        event_ids = {
            verdict.event_id for verdict in verdicts if isinstance(verdict, Accepted | Replayed)
        }
        if event_ids:
            self.wakeups.notify(event_ids, self._traced(requests, verdicts, began_ns))
        if self._slow.is_on:
            self._slow.accepted(requests, began_ns / 1e9, committed_at)
        return verdicts

    def _traced(
        self, requests: Sequence[PurchaseRequest], verdicts: Sequence[Verdict], began_ns: int
    ) -> Mapping[int, str]:
        """Record the batch; returns a traceparent of each event that has one."""
        if self._traces is None:
            return {}
        self._traces.accepted(requests, verdicts, began_ns)
        return {
            verdict.event_id: request.traceparent
            for request, verdict in zip(requests, verdicts, strict=True)
            if request.traceparent is not None and isinstance(verdict, Accepted)
        }
