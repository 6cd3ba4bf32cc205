"""The one task: decide what is queued of some ticket types."""

from collections.abc import Sequence

import redis

from purchase_worker import metrics
from purchase_worker.consumer.turn import take_turn
from purchase_worker.runtime import Runtime
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.observability.logging import get_logger
from shared.purchases import WAKEUP_KEY_PREFIX

# A queue that was emptied so often in one task goes to the back, so that others have their turn.
CLEARINGS = 3

logger = get_logger(__name__)


def decide_queues(runtime: Runtime, ticket_type_ids: Sequence[int]) -> list[int]:
    """Take a turn at these queues; returns those that need another turn.

    As long as the turn lasts, the wake-ups count as under way: others would only bring a worker
    that is turned away. They are cleared when nothing is queued, and then the queues are looked at
    once more: what was committed before that is seen, what is committed from then on brings its own
    wake-up. Such a wake-up may find us deciding; its worker is turned away and leaves it as under
    way. So after deciding something the wake-ups are cleared again (docs/model).
    """
    try:
        drained = take_turn(runtime, ticket_type_ids, runtime.linger)
        more = drained.more
        for _clearing in range(CLEARINGS):
            if not drained.emptied:
                return more
            _clear_wakeups(runtime, drained.emptied)
            drained = take_turn(runtime, drained.emptied)
            more = more + drained.more
            if not drained.decided:
                return more
        return more + drained.emptied
    except DATABASE_UNAVAILABLE as error:
        # Nothing is lost: what was not committed is still queued, and the sweeper will see it.
        metrics.DRAINS_INTERRUPTED.inc()
        logger.warning("drain_interrupted", ticket_types=ticket_type_ids, error=str(error))
        return []


def _clear_wakeups(runtime: Runtime, ticket_type_ids: Sequence[int]) -> None:
    try:
        runtime.redis.delete(*(f"{WAKEUP_KEY_PREFIX}{id_}" for id_ in ticket_type_ids))
    except redis.RedisError as error:
        logger.warning("wakeups_not_cleared", ticket_types=ticket_type_ids, error=str(error))
