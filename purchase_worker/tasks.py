"""The one task: decide what is queued of a ticket type."""

import redis

from purchase_worker.drain import Drained, drain
from purchase_worker.runtime import Runtime
from shared.database import DATABASE_AWAY
from shared.logging import get_logger
from shared.purchases import HINT_KEY_PREFIX

logger = get_logger(__name__)


def decide_queue(runtime: Runtime, ticket_type_id: int) -> Drained | None:
    """Take a turn at a ticket type's queue; None when the database was away.

    As long as the turn lasts, the hint counts as under way: another would only bring a worker that
    is turned away. It is cleared when nothing is queued, and then the queue is looked at once more:
    what was committed before that is seen, what is committed from then on brings its own hint.
    """
    try:
        _keep_hint(runtime, ticket_type_id)
        drained = drain(
            runtime.engine, ticket_type_id, runtime.settings, runtime.tell, runtime.linger
        )
        if drained.more or drained.turned_away:
            return drained
        _clear_hint(runtime, ticket_type_id)
        return drain(runtime.engine, ticket_type_id, runtime.settings, runtime.tell)
    except DATABASE_AWAY as error:
        # Nothing is lost: what was not committed is still queued, and the sweeper will see it.
        logger.warning("drain_interrupted", ticket_type=ticket_type_id, error=str(error))
        return None


def _keep_hint(runtime: Runtime, ticket_type_id: int) -> None:
    try:
        runtime.redis.set(
            f"{HINT_KEY_PREFIX}{ticket_type_id}", b"1", px=runtime.settings.hint_ttl_ms
        )
    except redis.RedisError as error:
        logger.warning("hint_not_kept", ticket_type=ticket_type_id, error=str(error))


def _clear_hint(runtime: Runtime, ticket_type_id: int) -> None:
    try:
        runtime.redis.delete(f"{HINT_KEY_PREFIX}{ticket_type_id}")
    except redis.RedisError as error:
        logger.warning("hint_not_cleared", ticket_type=ticket_type_id, error=str(error))
