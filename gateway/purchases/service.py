"""Wires what the purchase routes need, and does their two jobs: buy and look up."""

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine
from uuid_utils import uuid7

from gateway import metrics
from gateway.batcher import Batcher
from gateway.purchases import store
from gateway.purchases.accept import (
    Accepted,
    PurchaseInput,
    PurchaseRequest,
    Replayed,
    Verdict,
    fingerprint,
    queued_purchase,
)
from gateway.purchases.backlog import BacklogGauge
from gateway.purchases.pace import Pace, look_again_seconds
from gateway.purchases.results import Decided, Queued, Reading, ResultReader
from gateway.purchases.traces import PurchaseTraces
from gateway.purchases.waiting import DecisionListener, Waiters, WaitLimit
from gateway.purchases.wakeups import WakeupSender
from gateway.rate_limits.by_user import UserLimit
from shared.config.settings import Settings
from shared.errors import NotFound, Problem, Unavailable
from shared.failpoints import reached
from shared.purchases import Purchase, QueuedPurchase, still_queued
from shared.web.asgi_extensions import ClientLeaves

# Polls answered by one statement.
STATUS_BATCH_ROWS = 500


class Answer(msgspec.Struct, frozen=True):
    """A purchase as it stands. `waits_seconds`: the estimate while queued; None once decided.

    `rate_limit`: the headers that tell a buyer how many more requests are welcome.
    """

    id: str
    body: bytes
    waits_seconds: float | None
    replayed: bool = False
    rate_limit: Mapping[str, str] = {}

    @property
    def version(self) -> bytes:
        """Another one whenever the body is another one."""
        return b"%08x" % zlib.crc32(self.body)


class PurchaseService:
    """`start` it in the event loop before the first request, `stop` it after the last."""

    def __init__(
        self, settings: Settings, engine: Engine, traces: PurchaseTraces | None = None
    ) -> None:
        self._settings = settings
        self._traces = traces
        self._engine = engine
        self._stopping = False
        self._pace = Pace()
        self._waiters = Waiters(settings.waiting_max_rows, settings.waiting_max_rows_of_user)
        self._limit = UserLimit(settings)
        self._wakeups = WakeupSender(settings, traces)
        self._results = ResultReader(settings, engine)
        self._listener = DecisionListener(settings, engine, self._waiters, self._pace)
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
        self._reading: Batcher[str, Reading] = Batcher(
            "read",
            self._results.read,
            batch_rows=STATUS_BATCH_ROWS,
            threads=settings.status_readers,
            pending_max_rows=settings.status_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    def start(self) -> None:
        self._wakeups.start()
        self._listener.start()
        self._backlog.start()

    @property
    def waiting(self) -> int:
        """How many clients wait for a decision, or follow one."""
        return self._waiters.count

    def refuse_more(self) -> None:
        """Answer 503 from now on, and let nobody wait any longer: the process is stopping."""
        self._stopping = True
        self._waiters.close()

    async def stop(self) -> None:
        """Finish what was accepted, then let go of everything."""
        self.refuse_more()
        await self._limit.close()
        await self._accepting.close()
        await self._reading.close()
        await self._listener.stop()
        await self._backlog.stop()
        await asyncio.to_thread(self._wakeups.close)
        self._results.close()

    async def buy(
        self,
        user_id: int,
        wanted: PurchaseInput,
        *,
        idempotency_key: str | None,
        request_id: str,
        traceparent: str | None = None,
        wait_limit: WaitLimit | None = None,
    ) -> Answer:
        """Accept a request durably, and wait for its decision if asked to.

        Raises:
            TooManyRequests: of this user.
            Unavailable: not accepted; or unknown, which the same key will tell.
            Problem: refused at the door.
            ClientLeft: while it waited; what was accepted stays accepted.
        """
        if self._stopping or self._backlog.is_full:
            raise Unavailable
        rate_limit = await self._limit.draw(user_id)
        request = PurchaseRequest(
            id=str(uuid7()),
            user_id=user_id,
            ticket_type_id=wanted.ticket_type,
            quantity=wanted.quantity,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(wanted) if idempotency_key is not None else None,
            request_id=request_id,
            traceparent=traceparent,
        )
        decision = self._waiters.expect(request.id, user_id) if wait_limit is not None else None
        try:
            verdict = await self._accepting.submit(request)
            if isinstance(verdict, Replayed):
                answer = await self.look_up(user_id, verdict.purchase_id, wait_limit)
                return replace(answer, replayed=True, rate_limit=rate_limit)
            if wait_limit is not None and decision is not None:
                await wait_limit.wait_for(decision)
                # What was accepted is never answered with a 503: then it is told as accepted.
                with suppress(Unavailable):
                    return replace(await self.look_up(user_id, request.id), rate_limit=rate_limit)
        except Problem as problem:
            problem.headers.update(rate_limit)
            raise
        finally:
            if decision is not None:
                self._waiters.forget(request.id, decision)
        waits_seconds = self._pace.wait_seconds(request.ticket_type_id, verdict.position)
        body = queued_purchase(request, verdict, waits_seconds)
        return Answer(request.id, msgspec.json.encode(body), waits_seconds, rate_limit=rate_limit)

    async def look_up(
        self, user_id: int, purchase_id: str, wait_limit: WaitLimit | None = None
    ) -> Answer:
        """A user's purchase as it stands, after its decision or a wait if asked to.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: the database is away.
            ClientLeft: while it waited.
        """
        if wait_limit is None:
            return self._answer(user_id, purchase_id, await self._reading.submit(purchase_id))
        # Expect before looking: a decision in between is then not missed.
        decision = self._waiters.expect(purchase_id, user_id)
        try:
            answer = await self.look_up(user_id, purchase_id)
            if answer.waits_seconds is None:
                return answer
            await wait_limit.wait_for(decision)
        finally:
            self._waiters.forget(purchase_id, decision)
        return await self.look_up(user_id, purchase_id)

    async def follow(
        self, user_id: int, purchase_id: str, leaves: ClientLeaves
    ) -> AsyncGenerator[Answer | None]:
        """The purchase as it stands, again as it moves up, and at last decided.

        None: nothing new for a while. It ends undecided when the process stops.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: at the first look: the database is away, or too many follow.
            ClientLeft: there is nobody to tell any more.
        """
        if self._stopping or self._waiters.is_full(user_id):
            raise Unavailable
        answer, told = None, b""
        while True:
            decision = self._waiters.expect(purchase_id, user_id)
            try:
                answer = await self._look_again(user_id, purchase_id, answer)
                yield answer if answer.body != told else None
                told = answer.body
                if answer.waits_seconds is None or self._stopping:
                    return
                await WaitLimit(look_again_seconds(answer.waits_seconds), leaves).wait_for(decision)
            finally:
                self._waiters.forget(purchase_id, decision)

    async def _look_again(self, user_id: int, purchase_id: str, known: Answer | None) -> Answer:
        """Who follows hears later what the database cannot tell for a while."""
        try:
            return await self.look_up(user_id, purchase_id)
        except Unavailable:
            if known is None:
                raise
            return known

    def body(self, found: store.Found) -> Purchase:
        """The purchase as clients read it, with where it stands while it is queued."""
        if found.position is None:
            return found.purchase
        return self._still_queued(Queued(found.user_id, found.purchase, found.position))

    def _answer(self, user_id: int, purchase_id: str, reading: Reading) -> Answer:
        if reading is None or reading.user_id != user_id:
            raise NotFound
        if isinstance(reading, Decided):
            return Answer(purchase_id, reading.body, None)
        body = self._still_queued(reading)
        return Answer(purchase_id, msgspec.json.encode(body), body.estimated_wait_seconds)

    def _still_queued(self, reading: Queued) -> QueuedPurchase:
        purchase = reading.purchase
        waits_seconds = self._pace.wait_seconds(purchase.ticket_type, reading.position)
        return still_queued(purchase, reading.position, waits_seconds)

    def _accept(self, requests: Sequence[PurchaseRequest]) -> list[Verdict]:
        """In a writer's thread: store the batch, then tell the workers; after the commit only."""
        began_ns = time.time_ns()
        reached("before_accept_commit")
        with metrics.ACCEPT_COMMIT_SECONDS.time():
            verdicts = store.accept(
                self._engine, requests, position_max_rows=self._settings.position_max_rows
            )
        reached("after_accept_commit")
        metrics.ACCEPT_BATCH_ROWS.observe(len(requests))
        metrics.ACCEPTED.inc(sum(isinstance(verdict, Accepted) for verdict in verdicts))
        # A replay's own wake-up may have been lost with the gateway that had it to send.
        stored = {
            request.ticket_type_id
            for request, verdict in zip(requests, verdicts, strict=True)
            if isinstance(verdict, Accepted | Replayed)
        }
        if stored:
            self._wakeups.notify(stored, self._traced(requests, verdicts, began_ns))
        return verdicts

    def _traced(
        self, requests: Sequence[PurchaseRequest], verdicts: Sequence[Verdict], began_ns: int
    ) -> Mapping[int, str]:
        """Tell of a batch; returns one traced request of each ticket type that has any."""
        if self._traces is None:
            return {}
        self._traces.accepted(requests, verdicts, began_ns)
        return {r.ticket_type_id: r.traceparent for r in requests if r.traceparent is not None}
