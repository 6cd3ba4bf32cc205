"""Accepts commands about purchases, and waits for their decision."""

import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.batcher import Batcher
from gateway.purchases.traces import PurchaseTraces
from gateway.purchases.waiting import Decision, Outcome, Waiter, Waiters, WaitLimit
from gateway.purchases.wakeups import WakeupSender
from gateway.resolutions import store
from gateway.resolutions.rules import (
    Accepted,
    Command,
    NothingToDo,
    problem_of_refusal,
)
from gateway.resolutions.store import Answer, Question, Verdict
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.failpoints import reached
from shared.purchases import Purchase, ended

ACCEPT_THREADS, ANSWER_THREADS = 2, 1
THREADS = ACCEPT_THREADS + ANSWER_THREADS
# Commands of one owner that wait at a time: a second of a large shop's payments.
WAITING_MAX_ROWS_OF_OWNER = 5_000


class Resolved(msgspec.Struct, frozen=True):
    """The answer to a command. `purchase`: None of an extension, which has `held` holds.

    `is_pending`: it waits for its decision still.
    """

    purchase: Purchase | None = None
    held: int | None = None
    is_pending: bool = False
    replayed: bool = False


class Resolutions:
    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        waiters: Waiters,
        wakeups: WakeupSender,
        traces: PurchaseTraces | None = None,
    ) -> None:
        self._traces = traces
        self._engine = engine
        self._waiters = waiters
        self._wakeups = wakeups
        self._accepting: Batcher[Command, Accepted | NothingToDo] = Batcher(
            "resolve",
            self._accept,
            batch_rows=settings.accept_batch_rows,
            threads=ACCEPT_THREADS,
            pending_max_rows=settings.accept_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )
        self._answering: Batcher[Question, Answer] = Batcher(
            "answer",
            self._answer,
            batch_rows=settings.accept_batch_rows,
            threads=ANSWER_THREADS,
            pending_max_rows=settings.accept_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    async def stop(self) -> None:
        """Finish what was accepted."""
        await self._accepting.close()
        await self._answering.close()

    async def resolve(self, command: Command, wait_limit: WaitLimit) -> Resolved:
        """Accept a command durably, and wait for its decision up to `wait_limit`.

        Raises:
            Unavailable: not accepted, or unknown: a retry finds out.
            Problem: it cannot be accepted, or was refused.
            ClientLeft: while it waited; what was accepted stays accepted.
        """
        if self._waiters.is_closed:
            raise Unavailable
        decision = self._expect(command.id, command)
        try:
            verdict = await self._accepting.submit(command)
            if isinstance(verdict, Accepted) and verdict.id == command.id:
                await wait_limit.wait_for(decision)
                outcome = decision.result() if decision.done() else None
                if isinstance(outcome, Outcome) and verdict.hold is not None:
                    reference = command.payment_reference
                    return Resolved(ended(verdict.hold, outcome.status, outcome.at, reference))
        finally:
            self._waiters.forget(command.id, decision)
        if isinstance(verdict, NothingToDo):
            answer = await self._answering.submit(Question(purchase_id=command.purchase_id))
            return _resolved(answer, is_pending=False)
        answered = await self._decided(verdict.id, command, wait_limit)
        return replace(answered, replayed=verdict.replayed)

    async def _decided(self, id_: str, command: Command, wait_limit: WaitLimit) -> Resolved:
        while True:
            decision = self._expect(id_, command)
            may_wait = not decision.done()
            try:
                answer = await self._answering.submit(Question(command_id=id_))
                if answer.outcome is not None:
                    return _resolved(answer, is_pending=False)
                if not may_wait or wait_limit.is_over:
                    return _resolved(answer, is_pending=True)
                await wait_limit.wait_for(decision)
            finally:
                self._waiters.forget(id_, decision)

    def _expect(self, id_: str, command: Command) -> Decision:
        waiter = Waiter(command.user_id, resolves=True)
        return self._waiters.expect(id_, waiter, WAITING_MAX_ROWS_OF_OWNER)

    def _accept(self, commands: Sequence[Command]) -> list[Verdict]:
        """In a thread: commit the batch, then send wake-ups."""
        began_ns = time.time_ns()
        reached("before_resolve_commit")
        verdicts = store.accept(self._engine, commands)
        reached("after_resolve_commit")
        # The wake-up of one that was accepted before may have been lost.
        event_ids = {verdict.event_id for verdict in verdicts if isinstance(verdict, Accepted)}
        traced = {}
        if self._traces is not None:
            self._traces.accepted(commands, verdicts, began_ns)
            traced = {
                verdict.event_id: command.traceparent
                for command, verdict in zip(commands, verdicts, strict=True)
                if command.traceparent is not None and isinstance(verdict, Accepted)
            }
        if event_ids:
            self._wakeups.notify(event_ids, traced)
        return verdicts

    def _answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        return store.answers(self._engine, questions)


def _resolved(answer: Answer, *, is_pending: bool) -> Resolved:
    """Raises Problem: the lane refused it."""
    purchase = answer.purchase.purchase if answer.purchase is not None else None
    if answer.reason is not None:
        problem = problem_of_refusal(answer.kind, answer.reason, purchase, answer.payment_reference)
        if problem is not None:
            raise problem
    return Resolved(purchase, answer.held, is_pending)
