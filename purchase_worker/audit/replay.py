"""Replays an event's ledger with the rule and reports what does not add up. Pure.

An entry says what its command changed and what was left after it; its batch, which transactions it
could see. So the replay needs no trust in the code that decided: it holds the rows against the
rule, against plain arithmetic, and against one another.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from purchase_worker.audit.findings import (
    FIRST_COME,
    HOLDS,
    INVENTORY,
    NUMBERING,
    OUTCOMES,
    PAYMENTS,
    QUEUE,
    Findings,
)
from purchase_worker.audit.limits import Bought
from purchase_worker.audit.order import BatchRow, Places
from purchase_worker.audit.rows import (
    BUY,
    PURCHASES,
    CounterRow,
    Earlier,
    EntryRow,
    HoldRow,
    LaneRow,
    Terms,
    WaitingRow,
)
from purchase_worker.decision import (
    EXTENDED,
    OVER_USER_LIMIT,
    Buy,
    Cancel,
    Change,
    Command,
    Confirm,
    Entry,
    Expire,
    Extend,
    Issue,
    Line,
    Purchase,
    Release,
    State,
    decide,
    later,
)
from shared.purchases import (
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    HELD,
    QUEUED,
    RELEASED,
    TIME_FORMAT,
    StoredLine,
)

# Entries that end a hold.
ENDS: Final = (CONFIRMED, RELEASED, EXPIRED)
_stored_lines = msgspec.json.Decoder(tuple[StoredLine, ...])


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """An entry that could be read, with the command that it answers."""

    row: EntryRow
    terms: Terms
    changes: tuple[Change, ...]
    command: Command


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
        # Whether a limit may have been set, or was named.
        self.limited = False
        self._event_id = event_id
        self._found = found
        self._keep = keep
        # Purchases of which a payment confirmed the hold.
        self.paid = 0
        self.open_holds = 0
        self._issued: defaultdict[int, int] = defaultdict(int)
        self._held: defaultdict[int, int] = defaultdict(int)
        self._sold: defaultdict[int, int] = defaultdict(int)
        # By how much holds were extended after these entries, from the first one on.
        self._extended_at: list[int] = []
        self._extended_seconds = [0]
        self._coming: deque[BatchRow] = deque()
        self._batch: BatchRow | None = None
        self._places = Places()

    def feed(self, batches: Iterable[BatchRow], rows: Iterable[EntryRow]) -> None:
        """The next entries, and at least the batches that begin with one of them."""
        self._coming.extend(batches)
        answers: list[_Answer] = []
        batch = None
        for row in rows:
            before, batch = batch, self._batch_of(row.number)
            if batch is not before:
                self._replay(answers, before)
                answers = []
            self.outcomes[row.kind] += 1
            try:
                terms, changes = row.terms(), row.changes()
                command = self._command(row, terms)
            except msgspec.DecodeError as error:
                self._violation(OUTCOMES, f"the lines of {row.id} cannot be read: {error}")
                continue
            answers.append(_Answer(row, terms, changes, command))
            self._keep_what_comes_back(row, terms, changes)
            if batch is not None and row.seq is not None:
                if row.accepted_at > batch.at:
                    self._violation(NUMBERING, f"{row.id} is decided before it was accepted")
                for wrong in self._places.check(batch, row, row.seq):
                    self._violation(FIRST_COME, f"{row.id} {wrong}")
        self._replay(answers, batch)

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
        if lane is not None and lane.extended_seconds != self._extended_seconds[-1]:
            self._violation(
                HOLDS,
                f"the lane extends holds by {lane.extended_seconds} s, the ledger by"
                f" {self._extended_seconds[-1]} s",
            )
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

    def check_holds(self, rows: Iterable[HoldRow]) -> int:
        """The open holds, of the same moment as what `finish` got; returns how many are right."""
        right = 0
        for row in rows:
            if row.number is None or row.kind != HELD:
                self._violation(HOLDS, f"{row.id} is in the list of open holds, but was never held")
            elif row.ended is not None:
                self._violation(
                    HOLDS, f"{row.id} is in the list of open holds, but entry {row.ended} ended it"
                )
            else:
                right += 1
                extended = self._extended_before(row.number)
                if row.moved_seconds != -extended:
                    self._violation(
                        HOLDS,
                        f"{row.id} is held {(row.moved_seconds or 0) + extended:+g} s longer than"
                        f" entry {row.number} gives",
                    )
        return right

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

    def _replay(self, answers: Sequence[_Answer], batch: BatchRow | None) -> None:
        """Hold entries of one batch against the rule; a wrong one counts as what it says."""
        at = _time(0.0 if batch is None else batch.at)
        done, size = 0, len(answers)
        while done < len(answers):
            part = answers[done : done + size]
            expected, _after = decide(self._state(part), at, [answer.command for answer in part])
            size *= 2
            for answer, entry in zip(part, expected, strict=True):
                done += 1
                right = self._is_right(answer, entry)
                self._account(answer.row, answer.terms, answer.changes)
                if not right:
                    size = 1
                    break

    def _is_right(self, answer: _Answer, expected: Entry) -> bool:
        row, terms, changes = answer.row, answer.terms, answer.changes
        if row.seq is None:
            self._violation(NUMBERING, f"entry {row.number} answers no request of it")
            return False
        if row.asked == "confirm" and terms.purchase is not None:
            self._check_payment(row, terms, terms.purchase)
        if (row.kind, row.reason) != (expected.kind, expected.reason):
            wrong = f"is {row.outcome}, the rule gives {expected.kind}" + (
                f" ({expected.reason})" if expected.reason else ""
            )
        elif changes != expected.changes:
            wrong = f"says {_said(changes)}, the rule gives {_said(expected.changes)}"
        elif terms.changed != expected.purchase_id:
            wrong = f"names purchase {terms.changed}, the rule {expected.purchase_id}"
        else:
            return True
        self._violation(OUTCOMES, f"entry {row.number} {wrong}")
        return False

    def _check_payment(self, row: EntryRow, terms: Terms, purchase: Earlier) -> None:
        price = sum(Decimal(item.unit_price) * item.quantity for item in purchase.items)
        paid = Decimal(terms.amount or 0), terms.currency
        if not terms.payment_reference:
            self._violation(PAYMENTS, f"{row.id} confirms {terms.purchase_id} without a payment")
        elif paid != (price, purchase.currency):
            self._violation(
                PAYMENTS,
                f"{row.id} pays {terms.amount} {terms.currency} for {terms.purchase_id},"
                f" which costs {price} {purchase.currency}",
            )
        if row.kind == CONFIRMED and terms.paid_too is not None:
            self._violation(
                PAYMENTS,
                f"payment {terms.payment_reference} confirms both {terms.purchase_id} and"
                f" {terms.paid_too}",
            )

    def _command(self, row: EntryRow, terms: Terms) -> Command:
        """The row's command, without the limits of holders, of which `check_limits` knows more;
        but with one that it exceeds if the entry says so."""
        if row.asked == BUY:
            return self._buy(row, terms)
        purchase_id = terms.purchase_id or ""
        match row.asked:
            case "confirm":
                return Confirm(row.id, purchase_id, terms.payment_reference or "")
            case "release":
                return Release(row.id, purchase_id)
            case "expire":
                return Expire(row.id, purchase_id)
            case "cancel":
                cancelled = _stored_lines.decode(row.asked_items or "")
                lines = tuple([Line(line.ticket_type, line.quantity) for line in cancelled])
                return Cancel(row.id, purchase_id, lines, bool(terms.restock))
            case "extend":
                return Extend(row.id, terms.hold_seconds or 0)
        change = row.quantity if row.asked == "issue" else -row.quantity
        return Issue(row.id, row.asked_ticket_type_id or 0, change)

    def _buy(self, row: EntryRow, terms: Terms) -> Buy:
        lines, over = row.lines(), row.reason == OVER_USER_LIMIT
        taken = row.kind in (CONFIRMED, HELD)
        limit = row.event_limit
        if taken or over:
            self._keep(Bought(row.number, row.user_id, terms.buyer, taken, limit, lines))
            one_without = row.user_limit is None and row.asked_items is None
            self.limited = self.limited or over or limit is not None or not one_without
        wanted = tuple([Line(id_, quantity) for id_, quantity, _limit in lines])
        return Buy(row.id, row.user_id, wanted, 0 if over else None, terms.hold_seconds)

    def _state(self, answers: Iterable[_Answer]) -> State:
        """Before these: of their ticket types, and of the purchases that they are about."""
        types = {change.ticket_type_id for answer in answers for change in answer.changes}
        purchases: dict[str, Purchase] = {}
        for answer in answers:
            purchase_id, purchase = answer.terms.purchase_id, answer.terms.purchase
            if purchase is not None and purchase_id is not None and purchase_id not in purchases:
                purchases[purchase_id] = self._purchase(purchase)
                types.update([item.ticket_type for item in purchase.items])
        left = {id_: self._issued[id_] - self._held[id_] - self._sold[id_] for id_ in types}
        held = {id_: self._held[id_] for id_ in types}
        return State(0, "", left, held, {}, purchases, self._extended_seconds[-1])

    def _purchase(self, earlier: Earlier) -> Purchase:
        lines = tuple([Line(item.ticket_type, item.quantity) for item in earlier.items])
        status, reference = earlier.kind or QUEUED, None
        cancelled: Counter[int] = Counter()
        for kind, payment_reference, changes in earlier.entries:
            if kind == CANCELLED:
                for change in changes:
                    cancelled[change.ticket_type] += change.quantity or 0
            else:
                status, reference = kind, payment_reference
        ends_at = None
        if status == HELD and earlier.number is not None and earlier.hold_seconds is not None:
            seconds = earlier.hold_seconds - self._extended_before(earlier.number)
            ends_at = later(_time(earlier.at or 0.0), seconds)
        holder = earlier.user_id, earlier.buyer
        return Purchase(holder, lines, status, ends_at, reference, cancelled)

    def _extended_before(self, number: int) -> int:
        return self._extended_seconds[bisect_left(self._extended_at, number)]

    def _account(self, row: EntryRow, terms: Terms, changes: tuple[Change, ...]) -> None:
        for change in changes:
            id_ = change.ticket_type_id
            if terms.changed is not None:
                self._account_resolution(row.kind, change)
            elif row.kind == CONFIRMED:
                self._sold[id_] -= change.change
            elif row.kind == HELD:
                self._held[id_] -= change.change
            else:
                self._issued[id_] += change.change
            held, sold = self._held[id_], self._sold[id_]
            if held < 0 or sold < 0 or held + sold > self._issued[id_]:
                self._violation(
                    INVENTORY,
                    f"entry {row.number} makes {held} held and {sold} sold of {self._issued[id_]}"
                    f" of ticket type {id_}",
                )
        if row.kind == HELD:
            self.open_holds += 1
        elif row.kind == EXTENDED:
            self._extended_at.append(row.number)
            self._extended_seconds.append(self._extended_seconds[-1] + (terms.hold_seconds or 0))
        elif terms.changed is not None:
            # The earlier purchase is paid, or its tickets are no more its holder's.
            self.open_holds -= row.kind in ENDS
            self.paid += row.kind == CONFIRMED

    def _account_resolution(self, kind: str, change: Change) -> None:
        id_, quantity = change.ticket_type_id, change.quantity or 0
        if kind == CANCELLED:
            self._sold[id_] -= quantity
            self._issued[id_] += change.change - quantity
        else:
            self._held[id_] -= quantity
            if kind == CONFIRMED:
                self._sold[id_] += quantity

    def _keep_what_comes_back(
        self, row: EntryRow, terms: Terms, changes: tuple[Change, ...]
    ) -> None:
        """Its holder has fewer tickets, also for the purchases behind it in its batch."""
        if terms.changed is not None and row.kind != CONFIRMED and terms.purchase is not None:
            holder = terms.purchase.user_id, terms.purchase.buyer
            back = tuple([(it.ticket_type_id, -(it.quantity or 0), None) for it in changes])
            self._keep(Bought(row.number, *holder, True, None, back))

    def _check_counters(self, counters: Iterable[CounterRow]) -> None:
        """What has no counter was withdrawn whole, and deleted or moved to another event."""
        counted = {counter.ticket_type_id: counter for counter in counters}
        for id_, counter in counted.items():
            if not counter.exists or counter.issued is None:
                what = "counter" if counter.exists else "ticket type"
                self._violation(INVENTORY, f"the {what} of ticket type {id_} is missing")
        for id_ in self._issued.keys() | self._held.keys() | self._sold.keys() | counted.keys():
            stored = counted.get(id_, CounterRow(id_, False, 0, 0, 0))
            figures = (stored.issued or 0, stored.held or 0, stored.sold or 0)
            given = (self._issued[id_], self._held[id_], self._sold[id_])
            if figures != given:
                self._violation(
                    INVENTORY,
                    f"ticket type {id_}: {figures[0]} issued, {figures[1]} held and {figures[2]}"
                    f" sold are counted, the ledger gives {given[0]}, {given[1]} and {given[2]}",
                )

    def _violation(self, invariant: str, detail: str) -> None:
        self._found.add(invariant, detail, self._event_id)


# Exact: a number of seconds since 1970 has room for microseconds.
@lru_cache(maxsize=1_024)
def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(TIME_FORMAT)


def _said(changes: Iterable[Change]) -> str:
    return ", ".join(map(_said_of_one, changes)) or "nothing"


def _said_of_one(change: Change) -> str:
    said = f"{change.change:+} and {change.left_after} left of ticket type {change.ticket_type_id}"
    if change.quantity is not None:
        said += f" for {change.quantity} tickets"
    if change.cancelled is not None:
        said += f", {change.cancelled} cancelled so far"
    return said
