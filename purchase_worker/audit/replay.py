"""Replays a sale from its rows and reports what does not add up. Pure.

The rows record how each decision was made: its number, what was left after it, and,
for each batch, which transactions it could see. So the replay needs no trust in the code that
decided: it holds the rows against the rule, against plain arithmetic, and against one another.
docs/decisions/0002-proof-of-the-order.md says what that proves and what it cannot.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from shared.purchases import CONFIRMED, REJECTED

INVENTORY: Final = "inventory"
NUMBERING: Final = "numbering"
OUTCOMES: Final = "outcomes"
USER_LIMITS: Final = "user_limits"
FIRST_COME: Final = "first_come"
QUEUE: Final = "queue"
GUARDS: Final = "guards"

DESCRIPTIONS: Final = {
    INVENTORY: "sold + left = issued, and never less than nothing left, after every decision",
    NUMBERING: "decisions are numbered 1, 2, 3 ... without a gap, each in one batch",
    OUTCOMES: "each outcome, and what was left after it, is what the rule gives",
    USER_LIMITS: "no user holds more than the limit that was accepted with the request",
    FIRST_COME: "no request was decided before an earlier one that was visible",
    QUEUE: "nothing has been queued for too long",
    GUARDS: "the database's own guards of these rows are in place and enabled",
}


class DecidedRow(msgspec.Struct, frozen=True):
    """A purchase as stored."""

    id: str
    seq: int
    accepted_xid: int
    user_id: int
    quantity: int
    user_limit: int | None
    status: str
    reason: str | None
    decision_number: int
    left_after: int


class QueuedRow(msgspec.Struct, frozen=True):
    id: str
    seq: int
    accepted_xid: int
    queued_seconds: float


class Change(msgspec.Struct, frozen=True):
    """Tickets issued or withdrawn after a decision; the first is the original issue."""

    change: int
    after_decision: int


class InventoryRow(msgspec.Struct, frozen=True):
    """The inventory row."""

    issued: int
    sold: int
    decisions: int


class Snapshot(msgspec.Struct, frozen=True):
    """Which transactions a statement saw: PostgreSQL's `xmin:xmax:in-progress,...`."""

    xmin: int
    xmax: int
    in_progress: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        xmin, xmax, in_progress = text.split(":")
        return cls(
            int(xmin), int(xmax), frozenset(int(xid) for xid in in_progress.split(",") if xid)
        )

    def sees(self, xid: int) -> bool:
        """Whether a transaction that has committed by now was visible."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.in_progress)

    def sees_all_of(self, earlier: "Snapshot") -> bool:
        """Whether it saw every transaction that an earlier one saw.

        Both must be of one cluster: in a younger one, transaction ids begin low again.
        """
        return earlier.xmax <= self.xmax and not any(map(earlier.sees, self.in_progress))


class BatchRecord(msgspec.Struct, frozen=True):
    first_number: int
    last_number: int
    seen: Snapshot


class Violation(msgspec.Struct, frozen=True):
    """A broken promise. `ticket_type` None: it concerns them all."""

    invariant: str
    ticket_type: int | None
    detail: str


class Replay:
    """The replay of one ticket type: feed it the rows in the order of their numbers, then finish.

    Args:
        ticket_type_id: named in violations.
        counter: the inventory row as it is now.
        changes: what was issued and withdrawn, in order.
        batches: the recorded batches, in order.
    """

    def __init__(
        self,
        ticket_type_id: int,
        counter: InventoryRow,
        changes: Sequence[Change],
        batches: Sequence[BatchRecord],
    ) -> None:
        self.violations: list[Violation] = []
        self._ticket_type_id = ticket_type_id
        self._counter = counter
        self._changes = deque(changes)
        self._batches = batches
        self._batch_firsts = [batch.first_number for batch in batches]
        self._batch_max_seq = [0] * len(batches)
        self._max_seq = 0
        self._number = 0
        self._issued = 0
        self._sold = 0
        self._held: dict[int, int] = {}
        self._check_changes()
        self._check_batches()

    def feed(self, rows: Iterable[DecidedRow]) -> None:
        for row in rows:
            self._check_numbering(row)
            self._issue_until(row.decision_number - 1)
            self._check_outcome(row)
            self._account(row)
            self._check_place(row)

    def finish(self, queued: Iterable[QueuedRow], queued_max_seconds: float) -> None:
        """Check the totals and what is still queued."""
        self._issue_until(None)
        self._check_totals()
        for row in queued:
            self._check_passed_over(row.id, row.seq, row.accepted_xid, len(self._batches))
            if row.queued_seconds > queued_max_seconds:
                self._violation(QUEUE, f"{row.id} is queued for {row.queued_seconds:.0f} s")

    def _check_changes(self) -> None:
        """Changes are made under the counter's lock, so they stand in the order of decisions."""
        after = 0
        for nth, change in enumerate(self._changes):
            last_possible = self._counter.decisions if nth else 0
            if not after <= change.after_decision <= last_possible:
                self._violation(
                    INVENTORY,
                    f"a change of {change.change:+} after decision {change.after_decision}"
                    f" stands where only {after} to {last_possible} is possible",
                )
            after = max(after, change.after_decision)

    def _check_batches(self) -> None:
        """Each batch begins where the one before it ended, and sees at least what that one saw."""
        expected = 1
        for batch in self._batches:
            if batch.first_number != expected or batch.last_number < batch.first_number:
                self._violation(
                    NUMBERING,
                    f"a batch is recorded for {batch.first_number} to {batch.last_number}"
                    f" where {expected} comes next",
                )
            expected = batch.last_number + 1
        for earlier, later in pairwise(self._batches):
            if not later.seen.sees_all_of(earlier.seen):
                self._violation(
                    FIRST_COME,
                    f"the batch that began with {later.first_number} did not see all that the"
                    f" batch before it saw",
                )

    def _check_totals(self) -> None:
        counter = self._counter
        for name, stored, replayed in (
            ("issued", counter.issued, self._issued),
            ("sold", counter.sold, self._sold),
        ):
            if stored != replayed:
                self._violation(INVENTORY, f"{name} is {stored}, yet the rows give {replayed}")
        if counter.decisions != self._number:
            self._violation(
                NUMBERING, f"{counter.decisions} decisions counted, the last is {self._number}"
            )
        if self._batches and self._batches[-1].last_number != self._number:
            last = self._batches[-1].last_number
            self._violation(NUMBERING, f"batches go up to {last}, decisions to {self._number}")

    def _check_numbering(self, row: DecidedRow) -> None:
        if row.decision_number != self._number + 1:
            self._violation(
                NUMBERING, f"{row.id} has number {row.decision_number} after {self._number}"
            )
        self._number = row.decision_number

    def _issue_until(self, decision: int | None) -> None:
        while self._changes and (decision is None or self._changes[0].after_decision <= decision):
            self._issued += self._changes.popleft().change
            if self._issued < self._sold:
                self._violation(INVENTORY, f"withdrawn to {self._issued} with {self._sold} sold")

    def _check_outcome(self, row: DecidedRow) -> None:
        before = Inventory(self._issued - self._sold, row.decision_number - 1)
        request = Request(row.id, row.user_id, row.quantity, row.user_limit)
        # Of this user alone: the rule copies what it is given, and the buyers may be many.
        held = {row.user_id: self._held.get(row.user_id, 0)}
        (expected,) = decide(before, held, [request]).decisions
        status = CONFIRMED if expected.reason is None else REJECTED
        if (row.status, row.reason) != (status, expected.reason):
            self._violation(
                OUTCOMES,
                f"{row.id} is {row.status} ({row.reason}), the rule gives {status}"
                f" ({expected.reason})",
            )
        elif row.left_after != expected.left_after:
            self._violation(
                OUTCOMES,
                f"{row.id} says {row.left_after} left, the rule gives {expected.left_after}",
            )

    def _account(self, row: DecidedRow) -> None:
        """Continue from what the row says, so that one wrong row is reported once."""
        if row.status != CONFIRMED:
            return
        self._sold += row.quantity
        if self._sold > self._issued:
            self._violation(INVENTORY, f"{row.id} makes {self._sold} sold of {self._issued}")
        held = self._held.get(row.user_id, 0) + row.quantity
        self._held[row.user_id] = held
        if row.user_limit is not None and held > row.user_limit:
            self._violation(
                USER_LIMITS, f"{row.id} gives user {row.user_id} {held} of {row.user_limit}"
            )

    def _check_place(self, row: DecidedRow) -> None:
        nth = bisect_right(self._batch_firsts, row.decision_number) - 1
        if nth < 0 or row.decision_number > self._batches[nth].last_number:
            self._violation(NUMBERING, f"{row.id} ({row.decision_number}) is in no recorded batch")
            return
        batch = self._batches[nth]
        if not batch.seen.sees(row.accepted_xid):
            self._violation(
                FIRST_COME,
                f"{row.id} could not be seen by its own batch, which began with"
                f" {batch.first_number}",
            )
        if row.seq < self._batch_max_seq[nth]:
            self._violation(FIRST_COME, f"{row.id} came earlier than one decided before it")
        elif row.seq < self._max_seq:
            self._check_passed_over(row.id, row.seq, row.accepted_xid, nth)
        self._batch_max_seq[nth] = max(self._batch_max_seq[nth], row.seq)
        self._max_seq = max(self._max_seq, row.seq)

    def _check_passed_over(self, id_: str, seq: int, accepted_xid: int, before: int) -> None:
        """A later request went first: right only if this one was not committed by then.

        What one batch saw every later one saw too (`_check_batches`), so the latest batch that
        passed it over is enough for all.
        """
        if seq > self._max_seq:
            return
        for nth in range(before - 1, -1, -1):
            if self._batch_max_seq[nth] > seq:
                if self._batches[nth].seen.sees(accepted_xid):
                    first = self._batches[nth].first_number
                    self._violation(
                        FIRST_COME, f"{id_} was passed over by the batch that began with {first}"
                    )
                return

    def _violation(self, invariant: str, detail: str) -> None:
        self.violations.append(Violation(invariant, self._ticket_type_id, detail))
