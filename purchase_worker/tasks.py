"""The one task: decide what is queued of some ticket types."""

from collections.abc import Sequence

import redis

from purchase_worker.runtime import Runtime
from purchase_worker.turn import take_turn
from shared.database import DATABASE_AWAY
from shared.logging import get_logger
from shared.purchases import HINT_KEY_PREFIX

logger = get_logger(__name__)


def decide_queues(runtime: Runtime, ticket_type_ids: Sequence[int]) -> list[int]:
    """Take a turn at these queues; returns those that need another turn.

    As long as the turn lasts, the hints count as under way: others would only bring a worker that
    is turned away. They are cleared when nothing is queued, and then the queues are looked at once
    more: what was committed before that is seen, what is committed from then on brings its own
    hint.
    """
    try:
        drained = take_turn(runtime, ticket_type_ids, runtime.linger)
        if not drained.emptied:
            return drained.more
        _clear_hints(runtime, drained.emptied)
        return drained.more + take_turn(runtime, drained.emptied).more
    except DATABASE_AWAY as error:
        # Nothing is lost: what was not committed is still queued, and the sweeper will see it.
        logger.warning("drain_interrupted", ticket_types=ticket_type_ids, error=str(error))
        return []


def _clear_hints(runtime: Runtime, ticket_type_ids: Sequence[int]) -> None:
    try:
        runtime.redis.delete(*(f"{HINT_KEY_PREFIX}{id_}" for id_ in ticket_type_ids))
    except redis.RedisError as error:
        logger.warning("hints_not_cleared", ticket_types=ticket_type_ids, error=str(error))
