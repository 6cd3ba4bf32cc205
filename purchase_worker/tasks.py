"""The one task: decide what is queued of some events."""

from collections.abc import Sequence
from contextlib import suppress

from purchase_worker import metrics
from purchase_worker.runtime import Runtime
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.messaging.redis_client import RedisError, send_all
from shared.observability.logging import get_logger
from shared.purchases import WAKEUP_KEY_PREFIX, WAKEUP_TTL_MS

# A queue that was emptied this often in one task goes to the back, so that others have their turn.
CLEARINGS = 3

logger = get_logger(__name__)


def decide_queues(runtime: Runtime, event_ids: Sequence[int]) -> list[int]:
    """Drain these queues; returns those that need another wake-up, marked as under way.

    A mark that had expired would let a gateway send one more each second. Then several workers take
    turns at one lane, and the wake-up of another event waits for all of them.
    """
    more = _decide(runtime, event_ids)
    if more:
        marks = [("SET", f"{WAKEUP_KEY_PREFIX}{id_}", "1", "PX", WAKEUP_TTL_MS) for id_ in more]
        with suppress(RedisError):  # without it, no gateway sends a wake-up either
            send_all(runtime.redis, marks)
    return more


def _decide(runtime: Runtime, event_ids: Sequence[int]) -> list[int]:
    """Until a queue is empty its wake-up counts as under way: a second worker would only skip it.

    Then the wake-up is cleared and the queue read once more: a request that was committed before is
    seen, a later one sends its own wake-up. That wake-up may find this worker deciding and skip;
    then it still counts as under way. So after each decision the wake-ups are cleared again
    (docs/model).
    """
    try:
        drained = runtime.drain(event_ids, runtime.linger, woken=True)
        more = drained.more
        for _clearing in range(CLEARINGS):
            if not drained.emptied:
                return more
            _clear_wakeups(runtime, drained.emptied)
            drained = runtime.drain(drained.emptied)
            more = more + drained.more
            if not drained.decided:
                return more
        return more + drained.emptied
    except DATABASE_UNAVAILABLE as error:
        # What was not committed is still queued: the sweeper decides it.
        metrics.DRAINS_INTERRUPTED.inc()
        logger.warning("drain_interrupted", events=event_ids, error=str(error))
        return []


def _clear_wakeups(runtime: Runtime, event_ids: Sequence[int]) -> None:
    try:
        runtime.redis.delete(*(f"{WAKEUP_KEY_PREFIX}{id_}" for id_ in event_ids))
    except RedisError as error:
        logger.warning("wakeups_not_cleared", events=event_ids, error=str(error))
