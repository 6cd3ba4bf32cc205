"""The proof of the order: nothing was decided before an earlier command that could be seen. Pure.

docs/decisions/0002-proof-of-the-order.md says what it proves and what it cannot.
"""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from purchase_worker.audit.rows import BUY, CAPACITY_CHANGES, PURCHASES, RESOLUTIONS, EntryRow


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


class BatchRow(msgspec.Struct, frozen=True):
    """A batch as stored. `at`: seconds since 1970. `ticket_type_id`: of one from before the ledger,
    which decided commands of this ticket type only. `by_drain`: it read the work list.
    """

    first_number: int
    last_number: int
    at: float
    seen: Snapshot
    ticket_type_id: int | None = None
    by_drain: bool = True


class Order:
    """Commands that are served first come, first served: those of one class.

    Each is decided in a batch; within it the sequence numbers rise. A command with a smaller number
    than one of an earlier batch is right only if that batch could not see it.
    """

    def __init__(self) -> None:
        # Batches with their highest sequence numbers. One with a lower number than a later batch
        # has cannot be the latest to pass a command over, so it is forgotten: few are kept.
        self._batches: list[tuple[int, BatchRow]] = []
        self._max_seq = 0

    def decided(self, seq: int, accepted_xid: int) -> Iterator[str]:
        """What is wrong with the place of the next command."""
        if seq <= self._max_seq:
            yield "did not come after the one decided before it in the same batch"
        else:
            self._max_seq = seq
            yield from self.passed_over(seq, accepted_xid)

    def passed_over(self, seq: int, accepted_xid: int) -> Iterator[str]:
        """What is wrong with the place of a command that no batch so far has decided.

        What one batch saw every later one saw too (`Replay` checks it), so the latest batch that
        passed it over is enough for all.
        """
        for max_seq, batch in reversed(self._batches):
            if max_seq > seq:
                if batch.seen.sees(accepted_xid):
                    yield f"was passed over by the batch that began with {batch.first_number}"
                return

    def close(self, batch: BatchRow) -> None:
        """The batch of the commands since the last call has no more."""
        while self._batches and self._batches[-1][0] <= self._max_seq:
            self._batches.pop()
        self._batches.append((self._max_seq, batch))
        self._max_seq = 0


class Places:
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
        # The catalog's change of capacity is decided by the transaction that accepts it, as a batch
        # of its own. It never waits, so it passes no queued resolution over, nor is it passed over.
        self._at_once_xid: int | None = None
        self._must_see_xid: int | None = None

    def check(self, batch: BatchRow, row: EntryRow, seq: int) -> Iterator[str]:
        """What is wrong with the place of an entry in its batch."""
        class_ = PURCHASES if row.asked == BUY else RESOLUTIONS
        scope = batch.ticket_type_id
        if class_ == RESOLUTIONS and scope is not None:
            # Before the ledger, changes of capacity had no place in a queue, and nothing was held.
            if row.asked not in CAPACITY_CHANGES:
                yield "is in a batch of before the ledger"
            return
        alone = batch.first_number == batch.last_number
        at_once = alone and not batch.by_drain and row.asked in CAPACITY_CHANGES
        if at_once:
            self._at_once_xid = row.accepted_xid
        # A snapshot leaves out its own transaction: it is beyond its end, or as if it were seen.
        if not batch.seen.sees(row.accepted_xid) and not (
            at_once and row.accepted_xid >= batch.seen.xmax
        ):
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
