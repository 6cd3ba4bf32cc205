"""Decides what is queued: lock, gather, decide, apply, commit; then tell.

Any number of processes may drain the same ticket type. One holds the lock; the others leave, and
nothing is lost by that: whoever drains looks once more, without the lock, before it leaves, so a
request that was committed before another was turned away is seen by that last look. An owner who
changes the capacity holds the lock too, for a moment and without looking: therefore whoever is
turned away comes back once, and should that fail too, the sweeper decides.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable

import msgspec
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.decision import NOT_ENOUGH_TICKETS, Decision, decide
from purchase_worker.store import Locked, QueuedRow
from shared.database import session
from shared.settings import Settings

# A change of capacity holds the lock for a few milliseconds.
COME_BACK_SECONDS = 0.02


class Batch(msgspec.Struct, frozen=True):
    """One committed drain transaction: each row with its decision, in order.

    `decided_at`: as clients read it. `more`: something was queued when the lock was free again.
    """

    ticket_type_id: int
    event_id: int
    rows: list[QueuedRow]
    decisions: list[Decision]
    decided_at: str
    seconds: float
    left_after: int
    more: bool


class Drained(msgspec.Struct, frozen=True):
    """What one turn did.

    `more`: its turn was over, yet more is queued. `turned_away`: another has the lock, and decides.
    """

    decided: int
    batches: int
    more: bool = False
    turned_away: bool = False


def _at_once(_batch: Batch) -> Iterable[None]:
    """Nobody lingers."""
    return ()


def drain(
    engine: Engine,
    ticket_type_id: int,
    settings: Settings,
    tell: Callable[[Batch], None],
    linger: Callable[[Batch], Iterable[None]] = _at_once,
) -> Drained:
    """Decide the queued requests of a ticket type until none is left or the turn is over.

    Args:
        engine: connections to PostgreSQL.
        ticket_type_id: whose queue.
        settings: the bounds of a batch and of a turn.
        tell: called with each batch after its commit, and never before.
        linger: waits after a batch; at each item the queue is looked at again.

    Raises:
        psycopg2.Error: the database is away or a limit was hit. What was committed stands; the
            rest is still queued.
    """
    deadline = time.monotonic() + settings.drain_max_seconds
    decided = batches = 0
    turned_away = False
    with session(engine) as cursor:
        more = store.has_queued(cursor, ticket_type_id)
        while more:
            if batches == settings.drain_max_batches or time.monotonic() > deadline:
                return Drained(decided, batches, more=True)
            batch = decide_batch(cursor, ticket_type_id, settings)
            if batch is None:
                if turned_away:
                    return Drained(decided, batches, turned_away=True)
                turned_away = True
                time.sleep(COME_BACK_SECONDS)
                more = store.has_queued(cursor, ticket_type_id)
                continue
            if batch.rows:
                tell(batch)
            decided += len(batch.rows)
            batches += 1
            more = batch.more
            for _pause in linger(batch):
                more = store.has_queued(cursor, ticket_type_id)
                if more:
                    break
    return Drained(decided, batches)


def decide_batch(cursor: Cursor, ticket_type_id: int, settings: Settings) -> Batch | None:
    """One transaction: the oldest queued requests get their outcomes. None: the lock is taken.

    Args:
        cursor: of a `session`.
        ticket_type_id: whose queue.
        settings: how many of them.

    Raises:
        psycopg2.Error: nothing of the batch is decided, unless COMMIT was already under way.
    """
    started = time.monotonic()
    locked = store.begin(cursor, ticket_type_id)
    if locked is None:
        return None
    if locked.inventory.left == 0:
        batch = _close_sold_out(cursor, locked, settings)
    else:
        batch = _decide_oldest(cursor, locked, settings)
    return msgspec.structs.replace(batch, seconds=time.monotonic() - started)


def _decide_oldest(cursor: Cursor, locked: Locked, settings: Settings) -> Batch:
    """Gather, decide, apply."""
    queue = store.read_queue(cursor, locked.ticket_type_id, settings.drain_batch_rows)
    if not queue.rows:
        return _batch(locked, [], [], locked.now, more=store.leave(cursor, locked.ticket_type_id))
    limited = {row.request.user_id for row in queue.rows if row.request.user_limit is not None}
    held = store.read_held(cursor, locked.ticket_type_id, limited) if limited else {}
    decided = decide(locked.inventory, held, (row.request for row in queue.rows))
    # A request may have come after this transaction began: none is decided before it was accepted.
    decided_at = max(locked.now, *(row.created_at for row in queue.rows))
    more = store.write_and_commit(
        cursor, locked, queue, decided, decided_at=decided_at, decided_by=_this_process()
    )
    return _batch(locked, queue.rows, decided.decisions, decided_at, more=more)


def _close_sold_out(cursor: Cursor, locked: Locked, settings: Settings) -> Batch:
    """What `decide` says when nothing is left, without asking it."""
    before = locked.inventory.decisions
    rows, decided_at = store.close_sold_out(
        cursor,
        locked,
        rows=settings.drain_close_rows,
        decided_by=_this_process(),
    )
    decisions = [
        Decision(row.request, number, NOT_ENOUGH_TICKETS, 0)
        for number, row in enumerate(rows, before + 1)
    ]
    end = store.commit if rows else store.leave
    return _batch(locked, rows, decisions, decided_at, more=end(cursor, locked.ticket_type_id))


def _batch(
    locked: Locked, rows: list[QueuedRow], decisions: list[Decision], decided_at: str, *, more: bool
) -> Batch:
    return Batch(
        ticket_type_id=locked.ticket_type_id,
        event_id=locked.event_id,
        rows=rows,
        decisions=decisions,
        decided_at=decided_at,
        seconds=0.0,
        left_after=decisions[-1].left_after if decisions else locked.inventory.left,
        more=more,
    )


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
