"""Wires what the purchase routes need, and does their two jobs: buy and look up."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import Engine
from uuid_utils import uuid7

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
from gateway.purchases.batching import Batcher
from gateway.purchases.hints import HintSender
from gateway.purchases.pace import Pace
from gateway.purchases.results import Decided, Queued, Reading, ResultReader
from gateway.purchases.waiting import DecisionListener, Waiters
from shared.errors import NotFound, Unavailable
from shared.purchases import Purchase, QueuedPurchase, still_queued
from shared.settings import Settings


class Answer(msgspec.Struct, frozen=True):
    """A purchase as it stands. `waits_seconds`: the estimate while queued; None once decided."""

    id: str
    body: bytes
    waits_seconds: float | None
    replayed: bool = False


class PurchaseService:
    """`start` it in the event loop before the first request, `stop` it after the last."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._stopping = False
        self._pace = Pace()
        self._waiters = Waiters()
        self._hints = HintSender(settings)
        self._results = ResultReader(settings, engine)
        self._listener = DecisionListener(settings, engine, self._waiters, self._pace)
        self._backlog = BacklogGauge(settings, engine)
        self._accepting: Batcher[PurchaseRequest, Accepted | Replayed] = Batcher(
            "accept",
            self._accept,
            batch_rows=settings.accept_batch_rows,
            threads=settings.accept_writers,
            pending_max_rows=settings.accept_pending_max_rows,
            timeout_seconds=settings.accept_timeout_seconds,
        )
        self._reading: Batcher[str, Reading] = Batcher(
            "read",
            self._results.read,
            batch_rows=settings.status_batch_rows,
            threads=settings.status_readers,
            pending_max_rows=settings.status_pending_max_rows,
            timeout_seconds=settings.accept_timeout_seconds,
        )

    def start(self) -> None:
        self._hints.start()
        self._listener.start()
        self._backlog.start()

    @property
    def waiting(self) -> int:
        """How many purchases somebody waits for."""
        return len(self._waiters.ids())

    def refuse_more(self) -> None:
        """Answer 503 from now on, and let nobody wait any longer: the process is stopping."""
        self._stopping = True
        self._waiters.close()

    async def stop(self) -> None:
        """Finish what was accepted, then let go of everything."""
        self.refuse_more()
        await self._accepting.close()
        await self._reading.close()
        await self._listener.stop()
        await self._backlog.stop()
        await asyncio.to_thread(self._hints.close)
        self._results.close()

    async def buy(
        self,
        user_id: int,
        wanted: PurchaseInput,
        *,
        idempotency_key: str | None,
        request_id: str,
        wait_seconds: int,
    ) -> Answer:
        """Accept a request durably, and wait for its decision if asked to.

        Raises:
            Unavailable: not accepted; or unknown, which the same key will tell.
            Problem: refused at the door.
        """
        if self._stopping or self._backlog.is_full:
            raise Unavailable
        request = PurchaseRequest(
            id=str(uuid7()),
            user_id=user_id,
            ticket_type_id=wanted.ticket_type,
            quantity=wanted.quantity,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(wanted) if idempotency_key is not None else None,
            request_id=request_id,
        )
        decision = self._waiters.expect(request.id) if wait_seconds else None
        try:
            verdict = await self._accepting.submit(request)
            if isinstance(verdict, Replayed):
                answer = await self.look_up(user_id, verdict.purchase_id, wait_seconds)
                return msgspec.structs.replace(answer, replayed=True)
            if decision is not None:
                await asyncio.wait((decision,), timeout=wait_seconds)
                # What was accepted is never answered with a 503: then it is told as accepted.
                with suppress(Unavailable):
                    return await self.look_up(user_id, request.id)
        finally:
            if decision is not None:
                self._waiters.forget(request.id, decision)
        waits_seconds = self._pace.wait_seconds(request.ticket_type_id, verdict.position)
        body = queued_purchase(request, verdict, waits_seconds)
        return Answer(request.id, msgspec.json.encode(body), waits_seconds)

    async def look_up(self, user_id: int, purchase_id: str, wait_seconds: int = 0) -> Answer:
        """A user's purchase as it stands, after its decision or a wait if asked to.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: the database is away.
        """
        if not wait_seconds:
            return self._answer(user_id, purchase_id, await self._reading.submit(purchase_id))
        # Expect before looking: a decision in between is then not missed.
        decision = self._waiters.expect(purchase_id)
        try:
            answer = self._answer(user_id, purchase_id, await self._reading.submit(purchase_id))
            if answer.waits_seconds is None:
                return answer
            await asyncio.wait((decision,), timeout=wait_seconds)
        finally:
            self._waiters.forget(purchase_id, decision)
        return self._answer(user_id, purchase_id, await self._reading.submit(purchase_id))

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
        verdicts = store.accept(
            self._engine, requests, position_max_rows=self._settings.position_max_rows
        )
        accepted = {
            request.ticket_type_id
            for request, verdict in zip(requests, verdicts, strict=True)
            if isinstance(verdict, Accepted)
        }
        if accepted:
            self._hints.notify(accepted)
        return verdicts
