"""Replays an event's ledger with the rule and reports what does not add up. Pure.

An entry says what its command changed and what was left after it; its batch, which transactions it
could see. So the replay needs no trust in the code that decided: it holds the rows against the
rule, against plain arithmetic, and against one another.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from purchase_worker.audit.order import BatchRow, Order
from purchase_worker.decision import (
    OVER_USER_LIMIT,
    Buy,
    Change,
    Command,
    Issue,
    Line,
    State,
    decide,
)
from shared.purchases import CONFIRMED, StoredChange, StoredItem

INVENTORY: Final = "inventory"
NUMBERING: Final = "numbering"
OUTCOMES: Final = "outcomes"
USER_LIMITS: Final = "user_limits"
FIRST_COME: Final = "first_come"
QUEUE: Final = "queue"
GUARDS: Final = "guards"

DESCRIPTIONS: Final = {
    INVENTORY: "sold + left = issued, and never less than nothing left, after every entry",
    NUMBERING: "every request waits or has its entry; entries are numbered 1, 2, 3 ... by batches",
    OUTCOMES: "each outcome, and what was left after it, is what the rule gives",
    USER_LIMITS: "no user holds more than the limits that were accepted with the request",
    FIRST_COME: "no request was decided before an earlier one that was visible",
    QUEUE: "nothing has been queued for too long",
    GUARDS: "the database's own guards of these rows are in place and enabled",
}
# Violations that are listed; all are counted.
EXAMPLES_MAX = 20
BUY: Final = "buy"
# Classes of the work list.
RESOLUTIONS: Final = 0
PURCHASES: Final = 1
_stored_items = msgspec.json.Decoder(tuple[StoredItem, ...])


_stored_changes = msgspec.json.Decoder(tuple[StoredChange, ...])


class EntryRow(msgspec.Struct, frozen=True, gc=False):
    """An entry with its request, as stored; `seq` is None where that is missing.

    Those of several lines have them in `items` and `asked_items`. `accepted_at`: seconds since
    1970.
    """

    number: int
    kind: str
    reason: str | None
    ticket_type_id: int | None
    change: int
    left_after: int
    items: str | None
    id: str
    seq: int | None
    accepted_xid: int
    accepted_at: float
    asked: str
    user_id: int
    asked_ticket_type_id: int | None
    quantity: int
    user_limit: int | None
    event_limit: int | None
    asked_items: str | None

    @property
    def outcome(self) -> str:
        return self.kind if self.reason is None else f"{self.kind} ({self.reason})"

    def lines(self) -> tuple[Line, ...]:
        """What a purchase asked for.

        Raises:
            msgspec.DecodeError: it cannot be read.
        """
        if self.asked_items is None:
            return (Line(self.asked_ticket_type_id or 0, self.quantity, self.user_limit),)
        return tuple(
            Line(item.ticket_type, item.quantity, item.user_limit)
            for item in _stored_items.decode(self.asked_items)
        )

    def changes(self) -> tuple[Change, ...]:
        """What the entry says; raises as `lines` does."""
        if self.items is None:
            return (Change(self.ticket_type_id or 0, self.change, self.left_after),)
        return tuple(
            Change(item.ticket_type, item.change, item.left_after)
            for item in _stored_changes.decode(self.items)
        )


class Bought(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A purchase that was confirmed, or rejected for a limit of its user.

    `lines`: ticket type, quantity and limit of each.
    """

    number: int
    user_id: int
    confirmed: bool
    event_limit: int | None
    lines: tuple[tuple[int, int, int | None], ...]


class WaitingRow(msgspec.Struct, frozen=True):
    """A row of the work list; `accepted_xid` is None where its request is missing.

    `right`: class and sequence number are the request's. `answered`: by this entry.
    """

    id: str
    class_: int
    seq: int
    right: bool
    answered: int | None
    accepted_xid: int | None
    queued_seconds: float


class CounterRow(msgspec.Struct, frozen=True):
    """A ticket type's counter; `issued` is None where that is missing."""

    ticket_type_id: int
    exists: bool
    issued: int | None
    sold: int | None


class LaneRow(msgspec.Struct, frozen=True):
    """A lane; no purchase up to `done_seq` is looked for in the work list."""

    number: int
    at: float
    done_seq: int = 0


class Findings:
    """The violations: how many of each invariant, and examples."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, invariant: str, detail: str, event_id: int | None = None) -> None:
        """`event_id` None: it concerns them all."""
        self.counts[invariant] += 1
        if self.counts[invariant] <= EXAMPLES_MAX:
            where = "" if event_id is None else f"event {event_id}: "
            self.examples[invariant].append(where + detail)


class Replay:
    """The replay of one event: feed it the entries in the order of their numbers, then finish.

    After a wrong entry it continues from what that says, so that it is reported once.

    Args:
        event_id: named in violations.
        found: gets them.
        keep: called with what `check_limits` needs, so that no more than a part of the users has to
            be in memory at once. Here nobody has anything, and an entry that names a limit is taken
            at its word.
    """

    def __init__(self, event_id: int, found: Findings, keep: Callable[[Bought], None]) -> None:
        self.number = 0
        self.outcomes: Counter[str] = Counter()
        # By class.
        self.waiting: Counter[int] = Counter()
        # Whether a limit was set or named.
        self.limited = False
        self._event_id = event_id
        self._found = found
        self._keep = keep
        self._issued: Counter[int] = Counter()
        self._sold: Counter[int] = Counter()
        self._coming: deque[BatchRow] = deque()
        self._batch: BatchRow | None = None
        self._places = _Places()

    def feed(self, batches: Iterable[BatchRow], rows: Iterable[EntryRow]) -> None:
        """The next entries, and at least the batches that begin with one of them."""
        self._coming.extend(batches)
        for row in rows:
            batch = self._batch_of(row.number)
            self.outcomes[row.kind] += 1
            try:
                changes = row.changes()
                if row.seq is None:
                    self._violation(NUMBERING, f"entry {row.number} answers no request of it")
                else:
                    self._check_outcome(row, changes)
            except msgspec.DecodeError as error:
                self._violation(OUTCOMES, f"the lines of {row.id} cannot be read: {error}")
                continue
            self._account(row, changes)
            if batch is not None and row.seq is not None:
                if row.accepted_at > batch.at:
                    self._violation(NUMBERING, f"{row.id} is decided before it was accepted")
                for wrong in self._places.check(batch, row, row.seq):
                    self._violation(FIRST_COME, f"{row.id} {wrong}")

    def finish(self, lane: LaneRow | None, counters: Iterable[CounterRow]) -> None:
        """All entries were fed: hold lane and counters, of the same moment, against them."""
        while self._coming:
            self._open(self._coming.popleft())
        last = self._close()
        if last is not None and last.last_number != self.number:
            self._violation(
                NUMBERING, f"batches go up to {last.last_number}, entries to {self.number}"
            )
        if lane is None:
            self._violation(NUMBERING, "it has no lane")
        elif lane.number != self.number:
            self._violation(
                NUMBERING, f"the lane counts {lane.number} entries, the last is {self.number}"
            )
        elif last is not None and lane.at != last.at:
            self._violation(NUMBERING, "the lane's time is not that of its last batch")
        self._check_counters(counters)

    def check_waiting(
        self, lane: LaneRow | None, rows: Iterable[WaitingRow], queued_max_seconds: float
    ) -> None:
        """The work list, of the same moment as what `finish` got."""
        done_seq = 0 if lane is None else lane.done_seq
        for row in rows:
            self.waiting[row.class_] += 1
            if row.accepted_xid is None or not row.right:
                self._violation(NUMBERING, f"{row.id} is in the work list, but no such request")
            elif row.answered is not None:
                self._violation(NUMBERING, f"{row.id} waits although entry {row.answered} is there")
            else:
                for wrong in self._places.check_waiting(row.class_, row.seq, row.accepted_xid):
                    self._violation(FIRST_COME, f"{row.id} {wrong}")
            if row.class_ == PURCHASES and row.seq <= done_seq:
                self._violation(NUMBERING, f"{row.id} waits where its lane has nothing any more")
            if row.queued_seconds > queued_max_seconds:
                self._violation(QUEUE, f"{row.id} is queued for {row.queued_seconds:.0f} s")

    def _batch_of(self, number: int) -> BatchRow | None:
        if number != self.number + 1:
            self._violation(NUMBERING, f"entry {number} follows entry {self.number}")
        self.number = number
        while self._coming and self._coming[0].first_number <= number:
            self._open(self._coming.popleft())
        if self._batch is None or number > self._batch.last_number:
            self._violation(NUMBERING, f"entry {number} is in no recorded batch")
            return None
        return self._batch

    def _open(self, batch: BatchRow) -> None:
        """Each begins where the one before it ended."""
        before = self._close()
        expected = 1 if before is None else before.last_number + 1
        if batch.first_number != expected or batch.last_number < batch.first_number:
            self._violation(
                NUMBERING,
                f"a batch is recorded for {batch.first_number} to {batch.last_number}"
                f" where {expected} comes next",
            )
        if before is not None and batch.at < before.at:
            self._violation(
                NUMBERING, f"the batch that began with {batch.first_number} goes back in time"
            )
        self._batch = batch

    def _close(self) -> BatchRow | None:
        if self._batch is not None:
            for wrong in self._places.close(self._batch):
                self._violation(
                    FIRST_COME, f"the batch that began with {self._batch.first_number} {wrong}"
                )
        return self._batch

    def _check_outcome(self, row: EntryRow, changes: tuple[Change, ...]) -> None:
        command = self._command(row)
        types = {change.ticket_type_id for change in changes}
        left = {id_: self._issued[id_] - self._sold[id_] for id_ in types}
        (expected,), _after = decide(State(row.number - 1, "", left), "", (command,))
        if (row.kind, row.reason) != (expected.kind, expected.reason):
            self._violation(
                OUTCOMES,
                f"entry {row.number} is {row.outcome}, the rule gives {expected.kind}"
                + (f" ({expected.reason})" if expected.reason else ""),
            )
        elif changes != expected.changes:
            self._violation(
                OUTCOMES,
                f"entry {row.number} says {_said(changes)}, the rule gives"
                f" {_said(expected.changes)}",
            )

    def _command(self, row: EntryRow) -> Command:
        """The row's command; with a limit that it exceeds if the entry says so."""
        if row.asked != BUY:
            change = row.quantity if row.asked == "issue" else -row.quantity
            return Issue(row.id, row.asked_ticket_type_id or 0, change)
        confirmed, over = row.kind == CONFIRMED, row.reason == OVER_USER_LIMIT
        command = Buy(row.id, row.user_id, row.lines(), 0 if over else row.event_limit)
        if confirmed or over:
            lines = tuple([(it.ticket_type_id, it.quantity, it.user_limit) for it in command.lines])
            self._keep(Bought(row.number, row.user_id, confirmed, row.event_limit, lines))
            self.limited = self.limited or command.has_limit
        return command

    def _account(self, row: EntryRow, changes: tuple[Change, ...]) -> None:
        for change in changes:
            id_ = change.ticket_type_id
            if row.kind == CONFIRMED:
                self._sold[id_] -= change.change
            else:
                self._issued[id_] += change.change
            if not 0 <= self._sold[id_] <= self._issued[id_]:
                self._violation(
                    INVENTORY,
                    f"entry {row.number} makes {self._sold[id_]} sold of {self._issued[id_]}"
                    f" of ticket type {id_}",
                )

    def _check_counters(self, counters: Iterable[CounterRow]) -> None:
        """What has no counter was withdrawn whole, and deleted or moved to another event."""
        counted = {counter.ticket_type_id: counter for counter in counters}
        for id_, counter in counted.items():
            if not counter.exists or counter.issued is None:
                what = "counter" if counter.exists else "ticket type"
                self._violation(INVENTORY, f"the {what} of ticket type {id_} is missing")
        for id_ in self._issued.keys() | self._sold.keys() | counted.keys():
            stored = counted.get(id_, CounterRow(id_, False, 0, 0))
            figures = (stored.issued or 0, stored.sold or 0)
            if figures != (self._issued[id_], self._sold[id_]):
                self._violation(
                    INVENTORY,
                    f"ticket type {id_}: {figures[0]} issued and {figures[1]} sold are counted,"
                    f" the ledger gives {self._issued[id_]} and {self._sold[id_]}",
                )

    def _violation(self, invariant: str, detail: str) -> None:
        self._found.add(invariant, detail, self._event_id)


class _Places:
    """Who was served before whom, in one event.

    Resolutions go before purchases; each of these classes is first come, first served. Batches from
    before the ledger are held to the order of their own ticket type.
    """

    def __init__(self) -> None:
        # By class, and ticket type if from before the ledger.
        self._orders: defaultdict[tuple[int, int | None], Order] = defaultdict(Order)
        # Those of the present batch.
        self._touched: set[tuple[int, int | None]] = set()
        # The last batch, by ticket type if from before the ledger.
        self._last: dict[int | None, BatchRow] = {}
        self._last_with_purchases: BatchRow | None = None
        # A change of capacity is decided by the transaction that accepts it, as a batch of its own.
        # It never waits, so it passes nothing over; the snapshot shows what was before it.
        self._at_once_xid: int | None = None
        self._must_see_xid: int | None = None

    def check(self, batch: BatchRow, row: EntryRow, seq: int) -> Iterator[str]:
        """What is wrong with the place of an entry in its batch."""
        class_ = PURCHASES if row.asked == BUY else RESOLUTIONS
        scope = batch.ticket_type_id
        if class_ == RESOLUTIONS and scope is not None:
            return  # before the ledger, changes of capacity had no place in a queue
        at_once = False
        if not batch.seen.sees(row.accepted_xid):
            alone = batch.first_number == batch.last_number
            at_once = class_ == RESOLUTIONS and alone and row.accepted_xid >= batch.seen.xmax
            if at_once:
                self._at_once_xid = row.accepted_xid
            else:
                yield f"could not be seen by its batch, which began with {batch.first_number}"
        if class_ == RESOLUTIONS:
            yield from self._check_resolution(row.accepted_xid)
        elif scope is None:
            former = self._orders.get((PURCHASES, row.asked_ticket_type_id))
            if former is not None and row.asked_ticket_type_id is not None:
                yield from former.passed_over(seq, row.accepted_xid)
        elif row.asked_ticket_type_id != scope or None in self._last:
            yield "is in a batch of another ticket type, or of before the ledger"
        if not at_once:
            self._touched.add((class_, scope))
            yield from self._orders[class_, scope].decided(seq, row.accepted_xid)

    def check_waiting(self, class_: int, seq: int, accepted_xid: int) -> Iterator[str]:
        """What is wrong with a command that no batch has decided."""
        if class_ == RESOLUTIONS:
            yield from self._check_resolution(accepted_xid)
        yield from self._orders[class_, None].passed_over(seq, accepted_xid)

    def close(self, batch: BatchRow) -> Iterator[str]:
        """The batch has no more entries: what is wrong with its snapshot."""
        scope = batch.ticket_type_id
        before = self._last.get(scope)
        if self._touched or scope is None:
            if before is not None and not batch.seen.sees_all_of(before.seen):
                yield "denies what the batch before it saw"
            if self._must_see_xid not in (None, self._at_once_xid):
                assert self._must_see_xid is not None
                if not batch.seen.sees(self._must_see_xid):
                    yield "denies the change of capacity before it"
            self._last[scope] = batch
        if (PURCHASES, None) in self._touched:
            self._last_with_purchases = batch
        for key in self._touched:
            self._orders[key].close(batch)
        self._touched.clear()
        self._must_see_xid, self._at_once_xid = self._at_once_xid, None

    def _check_resolution(self, accepted_xid: int) -> Iterator[str]:
        if (PURCHASES, None) in self._touched:
            yield "came after purchases of its batch"
        passing = self._last_with_purchases
        if passing is not None and passing.seen.sees(accepted_xid):
            yield (
                f"waited while the batch that began with {passing.first_number} decided purchases"
            )


def check_limits(bought: Iterable[Bought], found: Findings, event_id: int) -> None:
    """Users' limits: confirmed purchases are within them, those rejected for them are not.

    Args:
        bought: all that these users bought of an event, in the order of its numbers. Earlier
            purchases count, whether they had a limit or not.
        found: gets the violations.
        event_id: named in them.
    """
    held: dict[int, dict[int, int]] = {}
    for row in bought:
        has = held.setdefault(row.user_id, {})
        command = Buy("", row.user_id, tuple([Line(*line) for line in row.lines]), row.event_limit)
        enough = {line.ticket_type_id: line.quantity for line in command.lines}
        state = State(row.number - 1, "", enough, owned={(row.user_id, ""): has})
        (expected,), _after = decide(state, "", (command,))
        if row.confirmed and expected.reason is not None:
            detail = f"entry {row.number} gives user {row.user_id} more than a limit allows"
            found.add(USER_LIMITS, detail, event_id)
        elif not row.confirmed and expected.reason is None:
            detail = f"entry {row.number} was within the limits of user {row.user_id}"
            found.add(OUTCOMES, detail, event_id)
        if row.confirmed:
            for line in command.lines:
                has[line.ticket_type_id] = has.get(line.ticket_type_id, 0) + line.quantity


def _said(changes: Iterable[Change]) -> str:
    return ", ".join(
        f"{change.change:+} and {change.left_after} left of ticket type {change.ticket_type_id}"
        for change in changes
    )
