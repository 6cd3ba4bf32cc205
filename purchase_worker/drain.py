"""Decides what is queued: lock, gather, decide, apply, commit; then publish.

One transaction decides the queues of several ticket types, because a transaction costs the same for
one and for thirty (docs/decisions/0012). Each keeps its own order, numbers and record; they share
only the commit.

Any number of processes may drain the same ticket type: one holds the lock, the others skip it. No
request is missed, because a drain reads the queue once more after its lock is free, so it sees what
was committed before another drain skipped. A change of capacity holds the lock too, without reading
the queue, and may be repeated. Therefore a skipped ticket type is tried a few times more; should
all of that fail, the sweeper decides.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from purchase_worker import metrics, store
from purchase_worker.decision import NOT_ENOUGH_TICKETS, BatchDecisions, Decision, Inventory, decide
from purchase_worker.store import Locked, Part, Queue
from shared.config.settings import Settings
from shared.database.engine import session
from shared.failpoints import reached
from shared.purchases import CONFIRMED

# A change of capacity holds the lock for a few milliseconds, and the next one of the same owner
# leaves 50 ms between (catalog/lanes.py): these tries fall into different parts of such a cycle.
RETRY_SKIPPED_SECONDS = (0.02, 0.03, 0.04, 0.05)


class Batch(msgspec.Struct, frozen=True):
    """One committed drain transaction.

    `parts`: the ticket types of which it decided something. `decided_at`: as clients read it.
    `queued`: ticket types of this drain with queued requests after the locks were released.
    `skipped`: ticket types that another transaction had locked.
    """

    parts: list[Part]
    decided_at: str
    queued: list[int]
    skipped: list[int] = []
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(len(part.queue.rows) for part in self.parts)

    @property
    def outcomes(self) -> Counter[str]:
        """Requests by outcome: confirmed, or the reason of the rejection."""
        return Counter(d.reason or CONFIRMED for p in self.parts for d in p.decided.decisions)


class Drained(msgspec.Struct, frozen=True):
    """`emptied`: ticket types whose queue was empty in the end. `more`: those whose queue was not,
    when a limit of the drain was reached. Ticket types in neither are decided by another process.
    """

    decided: int
    batches: int
    emptied: list[int]
    more: list[int]


def no_linger(_batch: Batch) -> Iterable[None]:
    return ()


def drain(
    engine: Engine,
    ticket_type_ids: Sequence[int],
    settings: Settings,
    publish: Callable[[Batch], None],
    linger: Callable[[Batch], Iterable[None]] = no_linger,
) -> Drained:
    """Decide the queued requests of these ticket types until none is left or a limit is reached.

    Args:
        engine: connections to PostgreSQL.
        ticket_type_ids: whose queues; each once.
        settings: the limits of a batch and of a drain.
        publish: called with each batch after its commit.
        linger: waits after a batch; the queues are read again at each item that it yields.

    Raises:
        psycopg2.Error: the database is unavailable or a timeout was hit. What was committed stands;
            the rest is still queued.
    """
    deadline = time.monotonic() + settings.drain_max_seconds
    decided = batches = 0
    skipped: set[int] = set()
    # How often each was skipped in a row.
    skips: Counter[int] = Counter()
    with session(engine) as cursor:
        queued = store.queued_among(cursor, ticket_type_ids)
        while queued:
            if batches == settings.drain_max_batches or time.monotonic() > deadline:
                return _drained(decided, batches, ticket_type_ids, queued, more=queued)
            wanted = [id_ for id_ in queued if id_ not in skipped]
            if not wanted:
                again = [id_ for id_ in queued if skips[id_] <= len(RETRY_SKIPPED_SECONDS)]
                if not again:
                    break
                skipped.difference_update(again)
                time.sleep(RETRY_SKIPPED_SECONDS[min(skips[id_] for id_ in again) - 1])
                queued = store.queued_among(cursor, ticket_type_ids)
                continue
            batch = decide_batch(cursor, wanted, settings, recheck=ticket_type_ids)
            if batch.parts:
                reached("after_decision_commit")
                publish(batch)
                reached("after_result")
            decided += batch.rows
            batches += 1
            skipped.update(batch.skipped)
            skips.update(batch.skipped)
            for id_ in set(wanted).difference(batch.skipped):
                del skips[id_]
            metrics.SKIPPED_LOCKED.inc(len(batch.skipped))
            queued = batch.queued
            for _pause in linger(batch):
                queued = store.queued_among(cursor, ticket_type_ids)
                if queued:
                    break
    return _drained(decided, batches, ticket_type_ids, queued, more=[])


def decide_batch(
    cursor: Cursor, wanted: Sequence[int], settings: Settings, *, recheck: Sequence[int]
) -> Batch:
    """One transaction: the oldest queued requests of each get their outcomes.

    Args:
        cursor: of a `session`.
        wanted: whose queues; those that another transaction has locked are skipped.
        settings: how many requests.
        recheck: whose queues are read again when the locks are released.

    Raises:
        psycopg2.Error: nothing of the batch is decided, unless COMMIT was already under way.
    """
    started = time.monotonic()
    with metrics.LOCK_SECONDS.time():
        locked = store.begin(cursor, wanted)
    if not locked:
        batch = Batch([], "", store.queued_among(cursor, recheck))
    elif len(locked) == 1 and locked[0].inventory.left == 0:
        batch = _close_sold_out(cursor, locked[0], settings, recheck)
    else:
        batch = _decide_oldest(cursor, locked, settings, recheck)
    ours = {each.ticket_type_id for each in locked}
    return msgspec.structs.replace(
        batch,
        skipped=[id_ for id_ in wanted if id_ not in ours],
        seconds=time.monotonic() - started,
    )


def _decide_oldest(
    cursor: Cursor, locked: list[Locked], settings: Settings, recheck: Sequence[int]
) -> Batch:
    """Gather, decide, apply."""
    rows_of_each = max(1, settings.drain_batch_rows // len(locked))
    ids = [each.ticket_type_id for each in locked]
    queues, seen = store.read_queues(cursor, ids, rows_of_each)
    if not queues:
        return Batch([], "", store.rollback_and_recheck(cursor, recheck))
    held = _held(cursor, queues)
    parts = [
        Part(
            each,
            queue := queues[each.ticket_type_id],
            decide(
                each.inventory,
                held.get(each.ticket_type_id, {}),
                (row.request for row in queue.rows),
            ),
        )
        for each in locked
        if each.ticket_type_id in queues
    ]
    # A request may be accepted after this transaction began: none is decided before its acceptance.
    accepted_at = (row.created_at for part in parts for row in part.queue.rows)
    decided_at = max(locked[0].now, *accepted_at)
    reached("before_decision_commit")
    with metrics.COMMIT_SECONDS.time():
        queued = store.write_and_commit(
            cursor,
            parts,
            seen=seen,
            decided_at=decided_at,
            decided_by=_this_process(),
            recheck=recheck,
        )
    return Batch(parts, decided_at, queued)


def _held(cursor: Cursor, queues: dict[int, Queue]) -> dict[int, dict[int, int]]:
    """Tickets that users with a limit hold, by ticket type and user."""
    limited = {
        (ticket_type_id, row.request.user_id)
        for ticket_type_id, queue in queues.items()
        for row in queue.rows
        if row.request.user_limit is not None
    }
    return store.read_held(cursor, list(limited)) if limited else {}


def _close_sold_out(
    cursor: Cursor, locked: Locked, settings: Settings, recheck: Sequence[int]
) -> Batch:
    """What `decide` gives when nothing is left, as one statement."""
    before = locked.inventory.decisions
    rows, decided_at = store.close_sold_out(
        cursor,
        locked,
        rows=settings.drain_close_rows,
        decided_by=_this_process(),
    )
    if not rows:
        return Batch([], "", store.rollback_and_recheck(cursor, recheck))
    decisions = [
        Decision(row.request, number, NOT_ENOUGH_TICKETS, 0)
        for number, row in enumerate(rows, before + 1)
    ]
    decided = BatchDecisions(decisions, Inventory(0, before + len(rows)), {})
    part = Part(locked, Queue(rows, []), decided)
    reached("before_decision_commit")
    with metrics.COMMIT_SECONDS.time():
        return Batch([part], decided_at, store.commit(cursor, recheck))


def _drained(
    decided: int, batches: int, turn: Sequence[int], queued: list[int], *, more: list[int]
) -> Drained:
    still = set(queued)
    return Drained(decided, batches, [id_ for id_ in turn if id_ not in still], more)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
