"""Reads purchases for polls: from Redis first, then the others from PostgreSQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine

from gateway.purchases.read import read
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Unavailable
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis
from shared.observability.logging import get_logger
from shared.purchases import RESULT_KEY_PREFIX, Purchase, unpack_result

logger = get_logger(__name__)


class DecidedResult(msgspec.Struct, frozen=True):
    """A decided purchase, whose body never changes."""

    user_id: int
    body: bytes


class Queued(msgspec.Struct, frozen=True):
    user_id: int
    purchase: Purchase
    position: int


Reading = DecidedResult | Queued | None


class ResultReader:
    """Blocking; call it from a thread."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._position_max_rows = settings.position_max_rows
        self._redis = open_redis(settings)
        self._breaker = CircuitBreaker(logger, "redis_unavailable")

    def read(self, ids: Sequence[str]) -> list[Reading | Exception]:
        """Each purchase, decided or queued; None if there is no such purchase.

        `Unavailable` for each that cannot be read now.
        """
        readings: dict[str, Reading | Exception] = dict(self._from_redis(ids))
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in readings]
        if missing:
            try:
                readings.update(self._from_postgres(missing))
            except DATABASE_UNAVAILABLE as error:
                logger.warning("status_unavailable", error=str(error))
                readings.update(
                    (id_, Unavailable("Temporarily unavailable; nothing is lost, retry."))
                    for id_ in missing
                )
        return [readings.get(id_) for id_ in ids]

    def _from_redis(self, ids: Sequence[str]) -> dict[str, DecidedResult]:
        values = self._breaker.call(
            lambda: self._redis.mget([RESULT_KEY_PREFIX + id_ for id_ in ids])
        )
        if values is None:
            return {}
        found = {}
        for id_, value in zip(ids, values, strict=True):
            result = unpack_result(value) if isinstance(value, bytes) else None
            if result is not None:
                found[id_] = DecidedResult(*result)
        return found

    def _from_postgres(self, ids: Sequence[str]) -> dict[str, Reading]:
        found = read(self._engine, ids, position_max_rows=self._position_max_rows)
        return {
            id_: DecidedResult(row.user_id, msgspec.json.encode(row.purchase))
            if row.position is None
            else Queued(row.user_id, row.purchase, row.position)
            for id_, row in found.items()
        }

    def close(self) -> None:
        self._redis.close()
