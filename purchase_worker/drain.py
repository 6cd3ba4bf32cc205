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
from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.decision import NOT_ENOUGH_TICKETS, Decision, Inventory, decide
from purchase_worker.store import Locked, Queue, QueuedRow
from shared.database import statement, transaction
from shared.purchases import CONFIRMED, REJECTED, Purchase, purchase_body
from shared.settings import Settings

# A change of capacity holds the lock for a few milliseconds.
COME_BACK_SECONDS = 0.02


class Outcome(msgspec.Struct, frozen=True):
    """A decided purchase, ready to be told to its owner."""

    user_id: int
    purchase: Purchase
    request_id: str | None


class Batch(msgspec.Struct, frozen=True):
    """One committed drain transaction."""

    ticket_type_id: int
    outcomes: list[Outcome]
    seconds: float
    left_after: int


class Drained(msgspec.Struct, frozen=True):
    """What one turn did. `more`: its turn was over, yet more is queued."""

    decided: int
    batches: int
    more: bool


def drain(
    engine: Engine, ticket_type_id: int, settings: Settings, tell: Callable[[Batch], None]
) -> Drained:
    """Decide the queued requests of a ticket type until none is left or the turn is over.

    Args:
        engine: connections to PostgreSQL.
        ticket_type_id: whose queue.
        settings: the bounds of a batch and of a turn.
        tell: called with each batch after its commit, and never before.

    Raises:
        psycopg2.Error: the database is away or a limit was hit. What was committed stands; the
            rest is still queued.
    """
    deadline = time.monotonic() + settings.drain_max_seconds
    decided = batches = 0
    turned_away = False
    while _has_queued(engine, ticket_type_id):
        if batches == settings.drain_max_batches or time.monotonic() > deadline:
            return Drained(decided, batches, more=True)
        batch = decide_batch(engine, ticket_type_id, settings)
        if batch is None:
            if turned_away:
                break
            turned_away = True
            time.sleep(COME_BACK_SECONDS)
            continue
        if batch.outcomes:
            tell(batch)
            decided += len(batch.outcomes)
        batches += 1
    return Drained(decided, batches, more=False)


def decide_batch(engine: Engine, ticket_type_id: int, settings: Settings) -> Batch | None:
    """One transaction: the oldest queued requests get their outcomes. None: the lock is taken.

    Raises:
        psycopg2.Error: nothing of the batch is decided, unless COMMIT itself was interrupted.
    """
    started = time.monotonic()
    with transaction(engine) as cursor:
        locked = store.lock_inventory(cursor, ticket_type_id)
        if locked is None:
            return None
        before = locked.inventory
        if before.left == 0:
            queue = store.close_sold_out(
                cursor, ticket_type_id, before.decisions, settings.drain_close_rows
            )
            decisions = _rejections(queue, before)
            after = Inventory(0, before.decisions + len(decisions))
        else:
            queue = store.read_queue(cursor, ticket_type_id, settings.drain_batch_rows)
            limited = {r.request.user_id for r in queue.rows if r.request.user_limit is not None}
            held = store.read_held(cursor, ticket_type_id, sorted(limited))
            outcome = decide(before, held, (row.request for row in queue.rows))
            decisions, after = outcome.decisions, outcome.inventory
            store.write_decisions(cursor, queue, decisions)
        if not decisions:
            return Batch(ticket_type_id, [], 0.0, before.left)
        decided_at = store.write_inventory(
            cursor,
            ticket_type_id,
            before=before,
            after=after,
            queue=queue,
            decided_by=_this_process(),
        )
    outcomes = [
        _outcome(ticket_type_id, locked, row, decision, decided_at)
        for row, decision in zip(queue.rows, decisions, strict=True)
    ]
    return Batch(ticket_type_id, outcomes, time.monotonic() - started, after.left)


def _has_queued(engine: Engine, ticket_type_id: int) -> bool:
    with statement(engine) as cursor:
        return store.has_queued(cursor, ticket_type_id)


def _rejections(queue: Queue, before: Inventory) -> list[Decision]:
    """What `decide` says when nothing is left, as `close_sold_out` has written it."""
    return [
        Decision(row.request, number, NOT_ENOUGH_TICKETS, 0)
        for number, row in enumerate(queue.rows, before.decisions + 1)
    ]


def _outcome(
    ticket_type_id: int, locked: Locked, row: QueuedRow, decision: Decision, decided_at: datetime
) -> Outcome:
    purchase = purchase_body(
        id=row.request.id,
        ticket_type=ticket_type_id,
        event=locked.event_id,
        quantity=row.request.quantity,
        unit_price=row.unit_price,
        status=CONFIRMED if decision.reason is None else REJECTED,
        reason=decision.reason,
        created_at=row.created_at,
        decided_at=decided_at,
    )
    return Outcome(row.request.user_id, purchase, row.request_id)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
