"""Reads purchases for polls: from Redis first, then the others from PostgreSQL."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.purchases.read import owned, read
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Unavailable
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis
from shared.observability.logging import get_logger
from shared.purchases import RESULT_KEY_PREFIX, HeldPurchase, Purchase, unpack_result

logger = get_logger(__name__)


class Poll(NamedTuple):
    """Who asks for which purchase."""

    purchase_id: str
    user_id: int


class DecidedResult(msgspec.Struct, frozen=True):
    """A decided purchase. `unvarying`: its body without what varies with time alone."""

    user_id: int
    body: bytes
    status: str
    unvarying: bytes


class Queued(msgspec.Struct, frozen=True):
    user_id: int
    purchase: Purchase
    position: int


Reading = DecidedResult | Queued | None


class _Status(msgspec.Struct):
    status: str


_status = msgspec.json.Decoder(_Status)


def unpacked(value: object) -> DecidedResult | None:
    """A worker's packed result; None if it is none."""
    try:
        result = unpack_result(value) if isinstance(value, bytes) else None
        if result is None:
            return None
        user_id, body = result
        return DecidedResult(user_id, body, _status.decode(body).status, body)
    except ValueError:
        return None


def decided(user_id: int, purchase: Purchase) -> DecidedResult:
    body = unvarying = msgspec.json.encode(purchase)
    if isinstance(purchase, HeldPurchase):
        unvarying = msgspec.json.encode(replace(purchase, seconds_left=0))
    return DecidedResult(user_id, body, purchase.status, unvarying)


class ResultReader:
    """Blocking; call it from a thread."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._position_max_rows = settings.position_max_rows
        self._redis = open_redis(settings)
        self._breaker = CircuitBreaker(logger, "redis_unavailable")

    def read(self, polls: Sequence[Poll]) -> list[Reading | Exception]:
        """Each purchase, decided or queued; None if there is none that this user may see.

        Its buyer may, and the owner of its event. `Unavailable` for each that cannot be read now.
        """
        ids = list(dict.fromkeys(poll.purchase_id for poll in polls))
        readings: dict[str, DecidedResult | Queued] = dict(self._from_redis(ids))
        missing = [id_ for id_ in ids if id_ not in readings]
        owners: set[tuple[str, int]] = set()
        is_unavailable = False
        try:
            if missing:
                readings.update(self._from_postgres(missing))
            others = {
                poll
                for poll in polls
                if (reading := readings.get(poll.purchase_id)) is not None
                and reading.user_id != poll.user_id
            }
            if others:
                owners = owned(self._engine, others)
        except DATABASE_UNAVAILABLE as error:
            logger.warning("status_unavailable", error=str(error))
            is_unavailable = True

        def answer(poll: Poll) -> Reading | Exception:
            reading = readings.get(poll.purchase_id)
            if reading is not None and (reading.user_id == poll.user_id or poll in owners):
                return reading
            if not is_unavailable:
                return None
            # Each has its own, to which the headers of its user's rate limit are added.
            return Unavailable("Temporarily unavailable; nothing is lost, retry.")

        return [answer(poll) for poll in polls]

    def _from_redis(self, ids: Sequence[str]) -> dict[str, DecidedResult]:
        values = self._breaker.call(
            lambda: self._redis.mget([RESULT_KEY_PREFIX + id_ for id_ in ids])
        )
        if values is None:
            return {}
        found = zip(ids, map(unpacked, values), strict=True)
        return {id_: result for id_, result in found if result is not None}

    def _from_postgres(self, ids: Sequence[str]) -> dict[str, DecidedResult | Queued]:
        found = read(self._engine, ids, position_max_rows=self._position_max_rows)
        return {
            id_: decided(row.user_id, row.purchase)
            if row.position is None
            else Queued(row.user_id, row.purchase, row.position)
            for id_, row in found.items()
        }

    def close(self) -> None:
        self._redis.close()
