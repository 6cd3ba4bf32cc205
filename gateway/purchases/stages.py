"""Where purchase requests waited that took long: `slow_purchase` in the log (docs/logs.md).

A line costs as much CPU as a purchase. So only the slowest of each second are logged: or a gateway
that is slow for want of CPU would log all its purchases, and be the slower for it.

A purchase is followed through gateway and worker by times of the wall clock, so as exactly as their
hosts are in step. Each stage ends where the next begins: together they are the whole time.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from copy import copy
from heapq import heappush, heappushpop
from typing import Final, Protocol

import msgspec

from shared.observability.logging import get_logger
from shared.purchases import DecidedBatch

# Of each second; a hundred lines take a hundredth of a core.
LOGGED_MAX: Final = 100
LOG_EVERY_SECONDS: Final = 1.0

logger = get_logger(__name__)


class Stages(msgspec.Struct):
    """When each stage of a request ended; 0: it has not. Times since 1970, in seconds."""

    received_at: float
    request_id: str
    submitted_at: float = 0.0
    batch_at: float = 0.0
    committed_at: float = 0.0
    notified_at: float = 0.0
    # When this gateway heard of the decision, and that decision; 0 and None: it was not waited for.
    decided_at: float = 0.0
    decision: DecidedBatch | None = None

    def ends(self, answered_at: float) -> Iterator[tuple[str, float]]:
        """Each stage in order, and when it ended."""
        yield "limits", self.submitted_at
        yield "batcher", self.batch_at
        yield "accept", self.committed_at
        decision = self.decision
        if decision is None or not decision.committed_at:
            yield "wakeup", self.notified_at
            yield "answer", answered_at
            return
        began_at = decision.committed_at - decision.seconds
        yield "worker", began_at
        yield "lock", began_at + decision.lock_seconds
        yield "decide", decision.committed_at - decision.commit_seconds
        yield "commit", decision.committed_at
        yield "publish", self.decided_at
        yield "result", answered_at

    def seconds(self, answered_at: float) -> dict[str, float]:
        """How long each stage took. Pure."""
        durations = {}
        since = self.received_at
        for name, ended_at in self.ends(answered_at):
            # A worker's batch may have begun before the purchase was there.
            durations[name] = max(0.0, ended_at - since)
            since = max(since, ended_at)
        return durations


class Followed(Protocol):
    """A request of a batch."""

    @property
    def id(self) -> str: ...

    @property
    def stages(self) -> Stages | None: ...


class _Slow(msgspec.Struct, frozen=True, order=True):
    seconds: float
    purchase_id: str
    stages: Stages


class SlowPurchases:
    """Logs purchases that take longer than `seconds` from their receipt to the answer; 0: none."""

    def __init__(self, seconds: float) -> None:
        self.is_on = seconds > 0
        self._seconds = seconds
        # Until the answer, by purchase.
        self._followed: dict[str, Stages] = {}
        # The slowest since the last lines, the least slow one first, and how many were slow.
        self._slowest: list[_Slow] = []
        self._count = 0
        self._logging: asyncio.TimerHandle | None = None

    def received(self, request_id: str) -> Stages | None:
        return Stages(time.time(), request_id) if self.is_on else None

    def submitted(self, request: Followed) -> None:
        if request.stages is not None:
            request.stages.submitted_at = time.time()
            self._followed[request.id] = request.stages

    @staticmethod
    def accepted(requests: Sequence[Followed], batch_at: float, committed_at: float) -> None:
        """In the writer's thread, when the wake-up was sent."""
        notified_at = time.time()
        for request in requests:
            if request.stages is not None:
                request.stages.batch_at = batch_at
                request.stages.committed_at = committed_at
                request.stages.notified_at = notified_at

    def decided(self, batch: DecidedBatch) -> None:
        now = time.time()
        for purchase_id in batch.ids:
            stages = self._followed.get(purchase_id)
            if stages is not None:
                stages.decided_at, stages.decision = now, batch

    def answered(self, request: Followed) -> None:
        """Call it in the event loop."""
        stages = request.stages
        if stages is None:
            return
        del self._followed[request.id]
        seconds = time.time() - stages.received_at
        if seconds < self._seconds:
            return
        if not self._slowest:
            loop = asyncio.get_running_loop()
            self._logging = loop.call_later(
                LOG_EVERY_SECONDS, lambda: loop.run_in_executor(None, _log, *self._taken())
            )
        self._count += 1
        push = heappush if len(self._slowest) < LOGGED_MAX else heappushpop
        # A copy: of a batch that hangs, the writer's thread goes on with its own.
        push(self._slowest, _Slow(seconds, request.id, copy(stages)))

    def close(self) -> None:
        """Log what is not logged yet."""
        if self._logging is not None:
            self._logging.cancel()
        _log(*self._taken())

    def _taken(self) -> tuple[list[_Slow], int]:
        taken = self._slowest, self._count
        self._slowest, self._count = [], 0
        return taken


def _log(slowest: list[_Slow], count: int) -> None:
    for slow in sorted(slowest, reverse=True):
        stages = slow.stages
        durations = stages.seconds(stages.received_at + slow.seconds)
        logger.warning(
            "slow_purchase",
            purchase=slow.purchase_id,
            request_id=stages.request_id,
            received_at=round(stages.received_at, 6),
            seconds=round(slow.seconds, 6),
            longest=max(durations, key=durations.__getitem__),
            stages={name: round(duration, 6) for name, duration in durations.items()},
            count=count,
        )
