"""The replay: what honest histories look like, and what no honest history can."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purchase_worker.audit.replay import (
    BatchRecord,
    Change,
    DecidedRow,
    InventoryRow,
    QueuedRow,
    Replay,
    Snapshot,
)
from purchase_worker.decision import Inventory, Request, decide

ISSUED = 10


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    xmin = draw(st.integers(3, 12))
    xmax = draw(st.integers(xmin, 12))
    in_progress = draw(st.frozensets(st.integers(xmin, xmax - 1))) if xmin < xmax else frozenset()
    return Snapshot(xmin, xmax, in_progress)


@given(snapshots(), snapshots())
def test_a_snapshot_that_sees_all_of_another_denies_nothing(a: Snapshot, b: Snapshot) -> None:
    denies = any(a.sees(xid) and not b.sees(xid) for xid in range(15))
    if b.sees_all_of(a):
        assert not denies
    elif a.xmax <= b.xmax:
        assert denies


class Sale(msgspec.Struct):
    """A small sale as a database would live through it: one transaction for each request."""

    next_xid: int = 100
    completed_xid: int = 99
    open: list[QueuedRow] = []
    queued: list[QueuedRow] = []
    rows: list[DecidedRow] = []
    batches: list[BatchRecord] = []
    left: int = ISSUED

    def begin(self) -> None:
        xid = self._new_xid()
        self.open.append(QueuedRow(f"r{xid}", xid, xid, 0.0))

    def commit(self, which: int) -> None:
        row = self.open.pop(which % len(self.open))
        self.queued.append(row)
        self.completed_xid = max(self.completed_xid, row.accepted_xid)

    def decide(self, rows_max: int) -> None:
        own_xid = self._new_xid()
        seen = self._snapshot()
        batch = sorted(self.queued, key=lambda row: row.seq)[:rows_max]
        self.queued = [row for row in self.queued if row not in batch]
        before = Inventory(self.left, len(self.rows))
        outcome = decide(before, {}, [Request(row.id, 1, 1, None) for row in batch])
        for row, decision in zip(batch, outcome.decisions, strict=True):
            status = "rejected" if decision.reason else "confirmed"
            self.rows.append(
                DecidedRow(
                    row.id, row.seq, row.accepted_xid, 1, 1, None, status, decision.reason,
                    decision.number, decision.left_after,
                )
            )  # fmt: skip
        self.left = outcome.inventory.left
        if batch:
            self.batches.append(BatchRecord(before.decisions + 1, len(self.rows), seen))
        self.completed_xid = max(self.completed_xid, own_xid)

    def broken(self) -> set[str]:
        counter = InventoryRow(ISSUED, ISSUED - self.left, len(self.rows))
        replay = Replay(1, counter, [Change(ISSUED, 0)], self.batches)
        replay.feed(self.rows)
        replay.finish(self.queued, 60.0)
        return {violation.invariant for violation in replay.violations}

    def _new_xid(self) -> int:
        self.next_xid += 1
        return self.next_xid - 1

    def _snapshot(self) -> Snapshot:
        xmax = self.completed_xid + 1
        in_progress = frozenset(r.accepted_xid for r in self.open if r.accepted_xid < xmax)
        return Snapshot(min(in_progress, default=xmax), xmax, in_progress)


steps = st.lists(
    st.just(("begin", 0))
    | st.tuples(st.just("commit"), st.integers(0, 9))
    | st.tuples(st.just("decide"), st.integers(1, 4)),
    max_size=60,
)


def lived_through(history: list[tuple[str, int]]) -> Sale:
    sale = Sale()
    for step, number in history:
        if step == "begin":
            sale.begin()
        elif step == "decide":
            sale.decide(number)
        elif sale.open:
            sale.commit(number)
    return sale


@given(steps)
def test_no_honest_history_is_accused(history: list[tuple[str, int]]) -> None:
    assert lived_through(history).broken() == set()


@given(steps, st.data())
def test_no_batch_may_deny_what_it_decided(
    history: list[tuple[str, int]], data: st.DataObject
) -> None:
    sale = lived_through([*history, ("begin", 0), ("commit", 0), ("decide", 99)])
    row = data.draw(st.sampled_from(sale.rows))
    nth = next(i for i, b in enumerate(sale.batches) if row.decision_number <= b.last_number)
    batch, xid = sale.batches[nth], row.accepted_xid
    blind = Snapshot(
        min(batch.seen.xmin, xid), batch.seen.xmax, batch.seen.in_progress | frozenset([xid])
    )
    sale.batches[nth] = msgspec.structs.replace(batch, seen=blind)
    assert "first_come" in sale.broken()


def test_an_earlier_batch_that_passed_a_request_over_is_not_forgotten() -> None:
    """The last one to pass it over denies it, yet the first had seen it."""
    sees_both, denies = Snapshot(110, 110, frozenset()), Snapshot(100, 120, frozenset({100}))
    sale = Sale(
        rows=[
            DecidedRow("b", 2, 101, 1, 1, None, "confirmed", None, 1, 9),
            DecidedRow("c", 3, 102, 1, 1, None, "confirmed", None, 2, 8),
            DecidedRow("a", 1, 100, 1, 1, None, "confirmed", None, 3, 7),
        ],
        batches=[
            BatchRecord(1, 1, sees_both),
            BatchRecord(2, 2, denies),
            BatchRecord(3, 3, Snapshot(120, 120, frozenset())),
        ],
        left=7,
    )
    assert sale.broken() == {"first_come"}


@pytest.mark.parametrize(
    "changes",
    [
        [Change(10, 1)],  # nothing was issued at first
        [Change(10, 0), Change(7, 3), Change(-7, 3)],  # after more decisions than were made
        [Change(10, 0), Change(1, 2), Change(2, 1), Change(-3, 2)],  # the order goes back
        [Change(10, -1)],
    ],
)
def test_changes_stand_in_the_order_of_decisions(changes: list[Change]) -> None:
    replay = Replay(1, InventoryRow(10, 0, 2), changes, [])
    assert {violation.invariant for violation in replay.violations} == {"inventory"}


@pytest.mark.parametrize("numbers", [(2, 4), (1, 5), (4, 4), (5, 4), (3, 4)])
def test_batches_follow_without_gap_or_overlap(numbers: tuple[int, int]) -> None:
    seen = Snapshot(100, 100, frozenset())
    batches = [BatchRecord(1, 2, seen), BatchRecord(*numbers, seen)]
    replay = Replay(1, InventoryRow(10, 0, 4), [Change(10, 0)], batches)
    broken = {violation.invariant for violation in replay.violations}
    assert broken == (set() if numbers == (3, 4) else {"numbering"})
