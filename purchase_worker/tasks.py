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

    The hint is marked as taken before the queue is read: what is committed from now on brings a
    hint of its own, what was committed before is read.
    """
    try:
        runtime.redis.delete(f"{HINT_KEY_PREFIX}{ticket_type_id}")
    except redis.RedisError as error:
        logger.warning("hint_not_cleared", ticket_type=ticket_type_id, error=str(error))
    try:
        return drain(runtime.engine, ticket_type_id, runtime.settings, runtime.tell)
    except DATABASE_AWAY as error:
        # Nothing is lost: what was not committed is still queued, and the sweeper will see it.
        logger.warning("drain_interrupted", ticket_type=ticket_type_id, error=str(error))
        return None
