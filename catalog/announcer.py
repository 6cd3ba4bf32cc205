"""Announces the entries that the catalog writes into ledgers, as workers announce theirs."""

from collections.abc import Collection

import msgspec

from shared.config.settings import Settings
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis
from shared.observability.logging import get_logger
from shared.purchases import DECIDED_CHANNEL, DecidedBatch

logger = get_logger(__name__)


class Announcer:
    """Without Redis, readers of the feed and senders find the entries by themselves, later."""

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings)
        self._breaker = CircuitBreaker(logger, "entries_not_announced")

    def __call__(self, events: Collection[int]) -> None:
        """Call it after the commit; a failure is only logged."""
        batch = DecidedBatch(ids=[], events=sorted(events), decided={}, seconds=0.0)
        message = msgspec.msgpack.encode(batch)
        self._breaker.call(lambda: self._redis.publish(DECIDED_CHANNEL, message))

    def close(self) -> None:
        self._redis.close()
