"""Publishes a committed batch in Redis: one result for each purchase, one message for all."""

from decimal import Decimal
from functools import lru_cache

import msgspec

from purchase_worker import metrics
from purchase_worker.decision import Decision
from purchase_worker.drain import Batch
from purchase_worker.store import Locked, QueuedRequest
from shared.config.settings import Settings
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import Command, open_redis, send_all
from shared.observability.logging import get_logger
from shared.purchases import (
    CONFIRMED,
    DECIDED_CHANNEL,
    REJECTED,
    RESULT_KEY_PREFIX,
    DecidedBatch,
    Purchase,
    pack_result,
)

logger = get_logger(__name__)


class ResultPublisher:
    """Stores results where gateways read first; without Redis, clients read PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self._ttl_seconds = settings.result_ttl_seconds
        self.redis = open_redis(settings)
        self.breaker = CircuitBreaker(logger, "results_not_published")

    def __call__(self, batch: Batch) -> None:
        """Publish a committed batch; a failure is only counted and logged."""
        published = self.breaker.call(
            lambda: send_all(self.redis, commands(batch, self._ttl_seconds))
        )
        if published is None:
            metrics.RESULTS_NOT_PUBLISHED.inc()


def commands(batch: Batch, ttl_seconds: int) -> list[Command]:
    """The results, then the message."""
    results: list[Command] = []
    for part in batch.parts:
        for row, decision in zip(part.queue.rows, part.decided.decisions, strict=True):
            purchase = body(part.locked, row, decision, batch.decided_at)
            result = pack_result(row.request.user_id, msgspec.json.encode(purchase))
            results.append(("SET", RESULT_KEY_PREFIX + purchase.id, result, "EX", ttl_seconds))
    message = DecidedBatch(
        ids=[row.request.id for part in batch.parts for row in part.queue.rows],
        decided={part.locked.ticket_type_id: len(part.queue.rows) for part in batch.parts},
        seconds=batch.seconds,
    )
    return [*results, ("PUBLISH", DECIDED_CHANNEL, msgspec.msgpack.encode(message))]


def body(locked: Locked, row: QueuedRequest, decision: Decision, decided_at: str) -> Purchase:
    """The purchase as the gateway would read it from its row."""
    return Purchase(
        id=row.request.id,
        ticket_type=locked.ticket_type_id,
        event=locked.event_id,
        quantity=row.request.quantity,
        unit_price=row.unit_price,
        total_price=_total(row.unit_price, row.request.quantity),
        status=CONFIRMED if decision.reason is None else REJECTED,
        reason=decision.reason,
        created_at=row.created_at,
        decided_at=decided_at,
    )


@lru_cache(maxsize=1_024)
def _total(unit_price: str, quantity: int) -> str:
    return str(Decimal(unit_price) * quantity)
