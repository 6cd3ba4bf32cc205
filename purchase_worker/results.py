"""Tells the outcomes of a committed batch: one result each into Redis, one message for all."""

import msgspec
import redis

from purchase_worker.drain import Batch
from shared.circuit_breaker import CircuitBreaker
from shared.logging import get_logger
from shared.purchases import DECIDED_CHANNEL, RESULT_KEY_PREFIX, DecidedBatch, pack_result
from shared.redis_client import open_redis
from shared.settings import Settings

logger = get_logger(__name__)


class ResultPublisher:
    """Puts results where gateways look first. Redis may be away: clients then read PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self._ttl_seconds = settings.result_ttl_seconds
        self.redis = open_redis(settings)
        self._breaker = CircuitBreaker()
        self.failures = 0

    def __call__(self, batch: Batch) -> None:
        """Publish a batch that is committed; a failure is a counted warning and nothing more."""
        if self._breaker.is_open:
            return
        message = DecidedBatch(
            ticket_type=batch.ticket_type_id,
            ids=[outcome.purchase.id for outcome in batch.outcomes],
            seconds=batch.seconds,
        )
        pipeline = self.redis.pipeline(transaction=False)
        for outcome in batch.outcomes:
            body = msgspec.json.encode(outcome.purchase)
            pipeline.set(
                RESULT_KEY_PREFIX + outcome.purchase.id,
                pack_result(outcome.user_id, body),
                ex=self._ttl_seconds,
            )
        pipeline.publish(DECIDED_CHANNEL, msgspec.msgpack.encode(message))
        try:
            pipeline.execute()
        except redis.RedisError as error:
            self.failures += 1
            self._breaker.trip()
            logger.warning("results_not_published", error=str(error), failures=self.failures)
