"""Looks purchases up: as they stand, after their decision, or again at each change."""

import zlib
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec
from sqlalchemy import Engine

from gateway.batcher import Batcher
from gateway.purchases.pace import Pace, read_again_seconds
from gateway.purchases.read import Found
from gateway.purchases.results import (
    DecidedResult,
    Poll,
    Queued,
    Reading,
    ResultReader,
    unpacked,
)
from gateway.purchases.waiting import Decision, Waiter, Waiters, WaitLimit
from shared.auth.caller import Caller
from shared.config.settings import Settings
from shared.errors import NotFound, Unavailable
from shared.purchases import HELD, QUEUED, Purchase, QueuedPurchase, still_queued
from shared.web.asgi_extensions import ClientLeaves

# Polls answered by one statement.
STATUS_BATCH_ROWS = 500


class PurchaseAnswer(msgspec.Struct, frozen=True, gc=False):
    """A purchase as it stands. `waits_seconds`: the estimate while queued; None once decided.

    `unvarying`: the body without what varies with time alone. `rate_limit`: the `RateLimit`
    headers.
    """

    id: str
    body: bytes
    waits_seconds: float | None
    status: str = QUEUED
    unvarying: bytes | None = None
    replayed: bool = False
    rate_limit: Mapping[str, str] = {}

    @property
    def version(self) -> bytes:
        """Changes with the body, but for what varies with time alone."""
        return b"%08x" % zlib.crc32(self.body if self.unvarying is None else self.unvarying)


def _answer(purchase_id: str, result: DecidedResult) -> PurchaseAnswer:
    return PurchaseAnswer(purchase_id, result.body, None, result.status, result.unvarying)


def _told(user_id: int, purchase_id: str, decision: Decision) -> PurchaseAnswer | None:
    """This user's purchase as the message of its decision told it; None: it is to be read."""
    result = unpacked(decision.result()) if decision.done() else None
    if result is None or result.user_id != user_id:
        return None
    return _answer(purchase_id, result)


class _Bought(msgspec.Struct):
    """The part of a purchase's body that says whom it was bought for."""

    buyer: str = ""


class PurchaseLookUp:
    def __init__(self, settings: Settings, engine: Engine, waiters: Waiters, pace: Pace) -> None:
        self._waiters = waiters
        self._pace = pace
        self._results = ResultReader(settings, engine)
        self._reading: Batcher[Poll, Reading] = Batcher(
            "read",
            self._results.read,
            batch_rows=STATUS_BATCH_ROWS,
            threads=settings.status_readers,
            pending_max_rows=settings.status_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    async def close(self) -> None:
        await self._reading.close()
        self._results.close()

    async def read(self, user_id: int, purchase_id: str) -> PurchaseAnswer:
        """A purchase as it stands, for its buyer or the owner of its event.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: the database is unavailable.
        """
        reading = await self._reading.submit(Poll(purchase_id, user_id))
        if reading is None:
            raise NotFound
        if isinstance(reading, DecidedResult):
            return _answer(purchase_id, reading)
        body = self._still_queued(reading)
        return PurchaseAnswer(purchase_id, msgspec.json.encode(body), body.estimated_wait_seconds)

    async def decided(self, user_id: int, purchase_id: str, decision: Decision) -> PurchaseAnswer:
        """A purchase whose decision was waited for. Raises as `read`."""
        told = _told(user_id, purchase_id, decision)
        return await self.read(user_id, purchase_id) if told is None else told

    async def waiter(self, caller: Caller, purchase_id: str) -> Waiter:
        """As whom the caller waits for a purchase.

        Raises:
            NotFound: with an API key: there is none, or it is another user's.
            Unavailable: with an API key: the database is unavailable.
        """
        if caller.key_id is None:
            return Waiter(caller.user_id)
        answer = await self.read(caller.user_id, purchase_id)
        return Waiter(caller.user_id, msgspec.json.decode(answer.body, type=_Bought).buyer)

    async def wait(
        self,
        waiter: Waiter,
        purchase_id: str,
        wait_limit: WaitLimit,
        is_known: Callable[[PurchaseAnswer], bool] = lambda _answer: False,
    ) -> PurchaseAnswer:
        """A purchase after its decision, or as it stands at the limit.

        `is_known`: whether the client has this answer; while held it waits for the next one.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: the database is unavailable.
            ClientLeft: while it waited.
        """
        while True:
            decision = self._waiters.expect(purchase_id, waiter)
            may_wait = not decision.done()
            try:
                answer = await self.read(waiter.user_id, purchase_id)
                is_awaited = answer.waits_seconds is not None or (
                    answer.status == HELD and is_known(answer)
                )
                if not is_awaited or not may_wait or wait_limit.is_over:
                    return answer
                del answer  # thousands wait, and each reads it again
                await wait_limit.wait_for(decision)
                if (told := _told(waiter.user_id, purchase_id, decision)) is not None:
                    return told
            finally:
                self._waiters.forget(purchase_id, decision)

    async def follow(
        self, waiter: Waiter, purchase_id: str, leaves: ClientLeaves
    ) -> AsyncGenerator[PurchaseAnswer | None]:
        """The purchase as it stands, again whenever it has moved up, and at last decided.

        None: no change for a while. It ends before the decision when the process stops.

        Raises:
            NotFound: there is none, or it is another user's.
            Unavailable: the first read failed, or too many clients wait.
            ClientLeft: the client disconnected.
        """
        if self._waiters.is_closed or self._waiters.is_full(waiter):
            raise Unavailable
        answer, told, sent = None, None, b""
        while True:
            decision = self._waiters.expect(purchase_id, waiter)
            try:
                answer = told or await self._read_again(waiter.user_id, purchase_id, answer)
                yield answer if answer.body != sent else None
                sent = answer.body
                if answer.waits_seconds is None or self._waiters.is_closed:
                    return
                await WaitLimit(read_again_seconds(answer.waits_seconds), leaves).wait_for(decision)
                told = _told(waiter.user_id, purchase_id, decision)
            finally:
                self._waiters.forget(purchase_id, decision)

    def body(self, found: Found) -> Purchase:
        """The purchase as clients read it, with its position while it is queued."""
        if found.position is None:
            return found.purchase
        return self._still_queued(Queued(found.user_id, found.purchase, found.position))

    async def _read_again(
        self, user_id: int, purchase_id: str, known: PurchaseAnswer | None
    ) -> PurchaseAnswer:
        """A stream outlasts an outage of the database: it goes on with what is `known`."""
        try:
            return await self.read(user_id, purchase_id)
        except Unavailable:
            if known is None:
                raise
            return known

    def _still_queued(self, reading: Queued) -> QueuedPurchase:
        purchase = reading.purchase
        waits_seconds = self._pace.wait_seconds(purchase.event, reading.position)
        return still_queued(purchase, reading.position, waits_seconds)
