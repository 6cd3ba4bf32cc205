"""Decides what is queued: lock, gather, decide, apply, commit; then publish.

Each event is a lane with one order. One transaction decides the queues of several events, because a
transaction costs the same for one and for thirty (docs/decisions/0012). Each keeps its own order,
numbers and record; they share only the commit.

Any number of processes may drain the same event: one holds its lane's lock, the others skip it. No
request is missed, because a drain reads the queue once more after its lock is free, so it sees what
was committed before another drain skipped. A change of capacity holds the lock too, without reading
the queue, and may be repeated. Therefore a skipped event is tried a few times more; should all of
that fail, the sweeper decides.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from sqlalchemy import Engine

from purchase_worker import metrics, store
from purchase_worker.decision import (
    NOT_ENOUGH_TICKETS,
    Buy,
    Change,
    Command,
    Entry,
    Holder,
    Purchase,
    Resolution,
    State,
    decide,
)
from purchase_worker.store import Lane, Part, Queue, Recheck, Work
from shared.config.settings import Settings
from shared.database.engine import session
from shared.failpoints import reached
from shared.purchases import REJECTED

# A change of capacity holds the lock for a few milliseconds, and the next one of the same owner
# leaves 50 ms between (catalog/database_threads.py): these tries fall into different parts of such
# a cycle.
RETRY_SKIPPED_SECONDS = (0.02, 0.03, 0.04, 0.05)


class Batch(msgspec.Struct, frozen=True):
    """One committed drain transaction.

    `parts`: the events of which it decided something. `queued`: events of this drain with queued
    commands after the locks were released. `skipped`: events whose lane another transaction had
    locked. `committed_at`: in seconds since 1970, by this host's clock.
    """

    parts: list[Part]
    queued: list[int]
    skipped: list[int] = []
    seconds: float = 0.0
    lock_seconds: float = 0.0
    commit_seconds: float = 0.0
    committed_at: float = 0.0

    @property
    def rows(self) -> int:
        return sum(len(part.entries) for part in self.parts)

    @property
    def decided(self) -> Iterator[tuple[Part, Work, Entry]]:
        """Each command with its entry."""
        for part in self.parts:
            for work, entry in zip(part.work, part.entries, strict=True):
                yield part, work, entry

    @property
    def outcomes(self) -> Counter[str]:
        """Commands by outcome: the kind of the entry, or the reason of the rejection."""
        return Counter(entry.reason or entry.kind for part in self.parts for entry in part.entries)


class Drained(msgspec.Struct, frozen=True):
    """`emptied`: events whose queue was empty in the end. `more`: those whose queue was not, when a
    limit of the drain was reached or a statement took too long. Events in neither are decided by
    another process, or left to the sweeper.
    """

    decided: int
    batches: int
    emptied: list[int]
    more: list[int]


def no_linger(_batch: Batch) -> Iterable[None]:
    return ()


def drain(
    engine: Engine,
    event_ids: Sequence[int],
    settings: Settings,
    publish: Callable[[Batch], None],
    linger: Callable[[Batch], Iterable[None]] = no_linger,
    *,
    whole: bool = False,
    woken: bool = False,
) -> Drained:
    """Decide what is queued of these events until nothing is left or a limit is reached.

    Args:
        engine: connections to PostgreSQL.
        event_ids: whose queues; each once.
        settings: the limits of a batch and of a drain.
        publish: called with each batch after its commit.
        linger: waits after a batch; the queues are read again at each item that it yields.
        whole: read the queues from their beginning, past all dead rows.
        woken: something is queued of each, most likely: they are locked without a look before.

    Raises:
        psycopg2.Error: the database is unavailable or a timeout was hit. What was committed stands;
            the rest is still queued.
    """
    deadline = time.monotonic() + settings.drain_max_seconds
    decided = batches = 0
    skipped: set[int] = set()
    # How often each was skipped in a row.
    skips: Counter[int] = Counter()
    recheck = Recheck(event_ids, whole)
    with session(engine) as cursor:
        queued = list(event_ids) if woken else store.queued_among(cursor, recheck)
        while queued:
            if batches == settings.drain_max_batches or time.monotonic() > deadline:
                return _drained(decided, batches, event_ids, queued, more=queued)
            wanted = [id_ for id_ in queued if id_ not in skipped]
            if not wanted:
                again = [id_ for id_ in queued if skips[id_] <= len(RETRY_SKIPPED_SECONDS)]
                if not again:
                    break
                skipped.difference_update(again)
                time.sleep(RETRY_SKIPPED_SECONDS[min(skips[id_] for id_ in again) - 1])
                queued = store.queued_among(cursor, recheck)
                continue
            batch = decide_batch(cursor, wanted, settings, recheck)
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
                queued = store.queued_among(cursor, recheck)
                if queued:
                    break
    return _drained(decided, batches, event_ids, queued, more=[])


def decide_batch(
    cursor: Cursor, wanted: Sequence[int], settings: Settings, recheck: Recheck
) -> Batch:
    """One transaction: the first queued commands of each get their entries.

    Args:
        cursor: of a `session`.
        wanted: whose queues; those that another transaction has locked are skipped.
        settings: how many commands.
        recheck: which queues are read again when the locks are released.

    Raises:
        psycopg2.Error: nothing of the batch is decided, unless COMMIT was already under way.
    """
    started = time.monotonic()
    with metrics.LOCK_SECONDS.time():
        locked = store.begin(cursor, wanted, whole=recheck.whole)
    lock_seconds = time.monotonic() - started
    if not locked:
        batch = Batch([], store.queued_among(cursor, recheck))
    else:
        batch = _close_sold_out(cursor, locked, settings, recheck) or _decide_oldest(
            cursor, locked, settings, recheck
        )
    ours = {lane.event_id for lane in locked}
    return msgspec.structs.replace(
        batch,
        skipped=[id_ for id_ in wanted if id_ not in ours],
        seconds=time.monotonic() - started,
        lock_seconds=lock_seconds,
        committed_at=time.time(),
    )


def _decide_oldest(
    cursor: Cursor, locked: list[Lane], settings: Settings, recheck: Recheck
) -> Batch:
    """Gather, decide, apply."""
    rows_of_each = max(1, settings.drain_batch_rows // len(locked))
    queues, seen = store.read_work(cursor, locked, rows_of_each)
    if not queues:
        return Batch([], store.rollback_and_recheck(cursor, recheck))
    owned = _owned(cursor, queues)
    purchases = _purchases(cursor, queues)
    lanes = [lane for lane in locked if lane.event_id in queues]
    parts = []
    for lane in lanes:
        queue = queues[lane.event_id]
        before = State(
            lane.number,
            lane.at,
            queue.left,
            queue.held,
            owned.get(lane.event_id, {}),
            purchases.get(lane.event_id, {}),
            lane.extended_seconds,
        )
        # A request may be accepted after this transaction began: none is decided before that. Each
        # lane has its own time: one that is ahead, by a clock set back since, moves no other.
        at = max(lane.now, *(work.created_at for work in queue.work))
        entries, after = decide(before, at, [work.command for work in queue.work])
        parts.append(Part(lane, queue.work, entries, before, after))
    reached("before_decision_commit")
    began = time.monotonic()
    with metrics.COMMIT_SECONDS.time():
        queued = store.write_and_commit(
            cursor,
            parts,
            locked_lanes=len(locked),
            seen=seen,
            decided_by=_this_process(),
            recheck=recheck,
        )
    return Batch(parts, queued, commit_seconds=time.monotonic() - began)


def _owned(
    cursor: Cursor, queues: Mapping[int, Queue]
) -> Mapping[int, Mapping[Holder, Mapping[int, int]]]:
    """Tickets by event, holder and ticket type, of the holders whose requests have a limit."""
    limited = {
        (event_id, work.command.holder)
        for event_id, queue in queues.items()
        for work in queue.work
        if isinstance(work.command, Buy) and work.command.has_limit
    }
    return store.read_owned(cursor, list(limited)) if limited else {}


def _purchases(cursor: Cursor, queues: Mapping[int, Queue]) -> Mapping[int, Mapping[str, Purchase]]:
    """The earlier purchases, by event and id, that commands are about."""
    ids = {
        work.command.purchase_id
        for queue in queues.values()
        for work in queue.work
        if isinstance(work.command, Resolution)
    }
    return store.read_purchases(cursor, ids, queues) if ids else {}


def _close_sold_out(
    cursor: Cursor, locked: list[Lane], settings: Settings, recheck: Recheck
) -> Batch | None:
    """What `decide` gives when nothing is left, as one statement; None where it does not apply."""
    lane, *others = locked
    if others or not lane.sold_out:
        return None
    work, at = store.close_sold_out(
        cursor, lane, rows=settings.drain_close_rows, decided_by=_this_process()
    )
    if not work:
        return None
    before = State(lane.number, lane.at, {})
    entries = [
        Entry(number, each.command, REJECTED, NOT_ENOUGH_TICKETS, _unchanged(each.command))
        for number, each in enumerate(work, lane.number + 1)
    ]
    part = Part(lane, work, entries, before, State(lane.number + len(work), at, {}))
    reached("before_decision_commit")
    began = time.monotonic()
    with metrics.COMMIT_SECONDS.time():
        queued = store.commit(cursor, recheck)
    return Batch([part], queued, commit_seconds=time.monotonic() - began)


def _unchanged(command: Command) -> tuple[Change, ...]:
    assert isinstance(command, Buy), "only purchases are closed"
    return tuple(Change(line.ticket_type_id, 0, 0) for line in command.lines)


def _drained(
    decided: int, batches: int, turn: Sequence[int], queued: list[int], *, more: list[int]
) -> Drained:
    still = set(queued)
    return Drained(decided, batches, [id_ for id_ in turn if id_ not in still], more)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
