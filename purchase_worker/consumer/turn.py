"""A turn at several queues that ends well for all that can be decided."""

from collections.abc import Callable, Iterable, Sequence

from purchase_worker.drain import Batch, Drained, at_once, drain
from purchase_worker.runtime import Runtime
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.observability.logging import get_logger

logger = get_logger(__name__)


def take_turn(
    runtime: Runtime,
    ticket_type_ids: Sequence[int],
    linger: Callable[[Batch], Iterable[None]] = at_once,
) -> Drained:
    """Drain these queues together; where that fails, each by itself.

    So one ticket type in trouble keeps no other waiting. Nothing of it is lost: what was not
    committed is still queued, and the sweeper comes back to it.

    Raises:
        DATABASE_UNAVAILABLE: it is not about one ticket type, as far as one can tell.
    """
    try:
        return drain(runtime.engine, ticket_type_ids, runtime.settings, runtime.tell, linger)
    except DATABASE_UNAVAILABLE:
        raise
    except Exception:
        logger.exception("drain_failed", ticket_types=ticket_type_ids)
    if len(ticket_type_ids) == 1:
        return Drained(0, 0, [], [])
    alone = [take_turn(runtime, [ticket_type_id]) for ticket_type_id in ticket_type_ids]
    return Drained(
        decided=sum(each.decided for each in alone),
        batches=sum(each.batches for each in alone),
        emptied=[id_ for each in alone for id_ in each.emptied],
        more=[id_ for each in alone for id_ in each.more],
    )
