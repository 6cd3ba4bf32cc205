"""The replay: what honest histories look like, and what no honest history can."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.replay import (
    Bought,
    CounterRow,
    EntryRow,
    Findings,
    LaneRow,
    Replay,
    WaitingRow,
    check_limits,
)
from purchase_worker.decision import Buy, Command, Entry, Issue, Line, State, decide
from shared.purchases import CONFIRMED

ISSUED = 10
TICKET_TYPE = 7


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


class Accepted(msgspec.Struct, frozen=True):
    """A request; its transaction's id is its sequence number, too."""

    xid: int
    command: Command

    @property
    def rank(self) -> tuple[int, int]:
        return int(isinstance(self.command, Buy)), self.xid


class Sale(msgspec.Struct):
    """A small sale as a database would live through it: one transaction for each request."""

    next_xid: int = 100
    completed_xid: int = 99
    open: list[Accepted] = []
    queued: list[Accepted] = []
    rows: list[EntryRow] = []
    batches: list[BatchRow] = []
    state: State = State(0, "", {})

    def begin(self, kind: str) -> None:
        xid = self._new_xid()
        self.open.append(Accepted(xid, _command(kind, xid)))

    def commit(self, which: int) -> None:
        accepted = self.open.pop(which % len(self.open))
        self.queued.append(accepted)
        self.completed_xid = max(self.completed_xid, accepted.xid)

    def decide(self, rows_max: int) -> None:
        own_xid = self._new_xid()
        batch = sorted(self.queued, key=lambda accepted: accepted.rank)[:rows_max]
        self.queued = [accepted for accepted in self.queued if accepted not in batch]
        self._write(batch)
        self.completed_xid = max(self.completed_xid, own_xid)

    def issue(self, change: int) -> None:
        """As the catalog does: decided by the transaction that accepts it."""
        own_xid = self._new_xid()
        if self.state.left.get(TICKET_TYPE, 0) + change >= 0:
            self._write([Accepted(own_xid, Issue(f"r{own_xid}", TICKET_TYPE, change))])
        self.completed_xid = max(self.completed_xid, own_xid)

    def broken(self) -> set[str]:
        found, bought = Findings(), list[Bought]()
        replay = Replay(1, found, bought.append)
        middle = len(self.rows) // 2
        if middle:
            at = self.rows[middle - 1].number
            early = [batch for batch in self.batches if batch.first_number <= at]
            replay.feed(early, self.rows[:middle])
        replay.feed(
            [b for b in self.batches if not middle or b.first_number > at], self.rows[middle:]
        )
        replay.finish(self.lane(), [self.counter()])
        replay.check_waiting(self.lane(), self.waiting(), 60.0)
        check_limits(bought, found, 1)
        assert set(found.examples) == set(found.counts), found.examples
        return set(found.counts)

    def lane(self) -> LaneRow:
        return LaneRow(len(self.rows), self.batches[-1].at if self.batches else 0.0)

    def counter(self) -> CounterRow:
        sold = -sum(row.change for row in self.rows if row.kind == CONFIRMED)
        left = self.state.left.get(TICKET_TYPE, 0)
        return CounterRow(TICKET_TYPE, True, left + sold, sold)

    def waiting(self) -> list[WaitingRow]:
        return [
            WaitingRow(row.command.id, row.rank[0], row.xid, True, None, row.xid, 0.0)
            for row in sorted(self.queued, key=lambda row: row.rank)
        ]

    def change(self, nth: int, **changes: Any) -> None:
        self.rows[nth - 1] = msgspec.structs.replace(self.rows[nth - 1], **changes)

    def _write(self, batch: list[Accepted]) -> None:
        if not batch:
            return
        first, seen = self.state.number + 1, self._snapshot()
        known = {row.user_id for row in self.rows}
        assert known <= {user_id for user_id, _buyer in self.state.owned} | {0}
        entries, self.state = decide(self.state, "", [accepted.command for accepted in batch])
        self.rows += [
            _row(entry, accepted.xid) for entry, accepted in zip(entries, batch, strict=True)
        ]
        at = max(float(accepted.xid) for accepted in batch)
        if self.batches:
            at = max(at, self.batches[-1].at)
        self.batches.append(BatchRow(first, self.state.number, at, seen))

    def _new_xid(self) -> int:
        self.next_xid += 1
        return self.next_xid - 1

    def _snapshot(self) -> Snapshot:
        xmax = self.completed_xid + 1
        in_progress = frozenset(row.xid for row in self.open if row.xid < xmax)
        return Snapshot(min(in_progress, default=xmax), xmax, in_progress)


def _command(kind: str, xid: int) -> Command:
    if kind == "issue":
        return Issue(f"r{xid}", TICKET_TYPE, 1)
    if kind == "withdraw":
        return Issue(f"r{xid}", TICKET_TYPE, -1)
    return Buy(f"r{xid}", xid % 3 + 1, (Line(TICKET_TYPE, 1 + xid % 2, 5),))


def _row(entry: Entry, xid: int) -> EntryRow:
    (change,) = entry.changes
    command, is_buy = entry.command, isinstance(entry.command, Buy)
    return EntryRow(
        number=entry.number,
        kind=entry.kind,
        reason=entry.reason,
        ticket_type_id=change.ticket_type_id,
        change=change.change,
        left_after=change.left_after,
        items=None,
        id=command.id,
        seq=xid,
        accepted_xid=xid,
        accepted_at=float(xid),
        asked="buy" if is_buy else "issue" if command.change > 0 else "withdraw",
        user_id=command.user_id if is_buy else 0,
        asked_ticket_type_id=TICKET_TYPE,
        quantity=command.lines[0].quantity if is_buy else abs(command.change),
        user_limit=command.lines[0].user_limit if is_buy else None,
        event_limit=None,
        asked_items=None,
    )


steps = st.lists(
    st.tuples(st.just("begin"), st.sampled_from(["buy", "buy", "buy", "issue", "withdraw"]))
    | st.tuples(st.just("commit"), st.integers(0, 9))
    | st.tuples(st.just("decide"), st.integers(1, 4))
    | st.tuples(st.just("issue"), st.integers(-2, 3).filter(bool)),
    max_size=60,
)


def lived_through(history: list[tuple[str, Any]]) -> Sale:
    sale = Sale()
    sale.issue(ISSUED)
    for step, value in history:
        if step != "commit" or sale.open:
            getattr(sale, step)(value)
    return sale


def every_kind() -> Sale:
    """1: issued; 2 and 3: bought in one batch, 4 and 5 in the next; 6: withdrawn; one waits."""
    steps: list[tuple[str, Any]] = [("begin", "buy"), ("commit", 0)] * 4
    steps += [("decide", 2), ("decide", 2), ("begin", "withdraw"), ("commit", 0), ("decide", 2)]
    return lived_through([*steps, ("begin", "buy"), ("commit", 0)])


@given(steps)
def test_no_honest_history_is_accused(history: list[tuple[str, Any]]) -> None:
    assert lived_through(history).broken() == set()


@given(steps, st.data())
def test_no_batch_may_deny_what_it_decided(
    history: list[tuple[str, Any]], data: st.DataObject
) -> None:
    sale = lived_through([*history, ("begin", "buy")])
    while sale.open:
        sale.commit(0)
    sale.decide(99)
    row = data.draw(st.sampled_from([row for row in sale.rows if row.asked == "buy"]))
    nth = next(i for i, b in enumerate(sale.batches) if row.number <= b.last_number)
    batch, xid = sale.batches[nth], row.accepted_xid
    blind = Snapshot(
        min(batch.seen.xmin, xid), batch.seen.xmax, batch.seen.in_progress | frozenset([xid])
    )
    sale.batches[nth] = msgspec.structs.replace(batch, seen=blind)
    assert "first_come" in sale.broken()


@given(steps, st.data())
def test_no_figure_of_an_entry_can_be_another(
    history: list[tuple[str, Any]], data: st.DataObject
) -> None:
    sale = lived_through(history)
    number = data.draw(st.integers(1, len(sale.rows)))
    field = data.draw(st.sampled_from(["change", "left_after", "quantity", "ticket_type_id"]))
    if sale.rows[number - 1].kind in ("rejected", "refused") and field == "quantity":
        field = "change"
    sale.change(number, **{field: getattr(sale.rows[number - 1], field) + 1})
    assert "outcomes" in sale.broken()


def _two_exchanged(sale: Sale) -> None:
    first, second = sale.rows[1].seq, sale.rows[2].seq
    sale.change(2, seq=second)
    sale.change(3, seq=first)


def _batch(nth: int, **changes: Any) -> Callable[[Sale], None]:
    def change(sale: Sale) -> None:
        sale.batches[nth] = msgspec.structs.replace(sale.batches[nth], **changes)

    return change


@pytest.mark.parametrize(
    ("invariant", "tamper"),
    [
        ("numbering", lambda sale: sale.rows.pop(2)),
        ("numbering", lambda sale: sale.rows.pop()),
        ("numbering", lambda sale: sale.rows.insert(2, sale.rows[2])),
        ("numbering", lambda sale: sale.change(6, number=9)),
        ("numbering", lambda sale: sale.change(3, seq=None)),
        ("numbering", lambda sale: sale.batches.pop(1)),
        ("numbering", lambda sale: sale.batches.pop()),
        ("numbering", _batch(1, last_number=4)),
        ("numbering", _batch(2, first_number=3)),
        ("numbering", _batch(2, first_number=5)),
        ("numbering", _batch(2, at=1.0)),
        ("numbering", lambda sale: sale.change(3, accepted_at=1e9)),
        ("outcomes", lambda sale: sale.change(2, kind="rejected", reason="over_user_limit")),
        ("outcomes", lambda sale: sale.change(2, kind="issued")),
        ("outcomes", lambda sale: sale.change(6, asked="issue")),
        ("outcomes", lambda sale: sale.change(2, items="[", ticket_type_id=None)),
        ("user_limits", lambda sale: sale.change(5, user_limit=1)),
        ("user_limits", lambda sale: sale.change(5, event_limit=1)),
        ("inventory", lambda sale: sale.change(1, change=2)),
        ("first_come", _two_exchanged),
        ("first_come", lambda sale: sale.change(4, seq=1)),
        ("first_come", lambda sale: sale.change(6, accepted_xid=3)),
        ("first_come", _batch(1, seen=Snapshot(200, 200, frozenset()))),
        ("first_come", _batch(2, ticket_type_id=TICKET_TYPE)),
    ],
)
def test_what_no_honest_history_has(invariant: str, tamper: Callable[[Sale], None]) -> None:
    sale = every_kind()
    assert sale.broken() == set()
    tamper(sale)
    assert invariant in sale.broken()


@pytest.mark.parametrize(
    ("invariant", "changes"),
    [
        ("numbering", {"accepted_xid": None}),
        ("numbering", {"right": False}),
        ("numbering", {"answered": 2}),
        ("first_come", {"seq": 1, "accepted_xid": 3}),
        ("first_come", {"class_": 0, "accepted_xid": 3}),
        ("queue", {"queued_seconds": 61.0}),
    ],
)
def test_a_row_of_the_work_list_is_that_of_a_request_that_waits_its_turn(
    invariant: str, changes: dict[str, Any]
) -> None:
    sale = every_kind()
    found = Findings()
    replay = Replay(1, found, lambda _: None)
    replay.feed(sale.batches, sale.rows)
    replay.finish(sale.lane(), [sale.counter()])
    (row,) = sale.waiting()
    replay.check_waiting(sale.lane(), [row], 60.0)
    assert not found.counts
    replay.check_waiting(sale.lane(), [msgspec.structs.replace(row, **changes)], 60.0)
    assert set(found.counts) == {invariant}


def test_no_purchase_waits_where_nobody_looks_for_it() -> None:
    sale, found = every_kind(), Findings()
    (row,) = sale.waiting()
    replay = Replay(1, found, lambda _: None)
    replay.check_waiting(LaneRow(6, 0.0, done_seq=row.seq - 1), [row], 60.0)
    assert not found.counts
    replay.check_waiting(LaneRow(6, 0.0, done_seq=row.seq), [row], 60.0)
    assert set(found.counts) == {"numbering"}


@pytest.mark.parametrize(
    ("lane", "counters"),
    [
        (None, None),
        (LaneRow(5, 104.0), None),
        (LaneRow(6, 999.0), None),
        (None, [CounterRow(TICKET_TYPE, True, None, None)]),
        (None, []),
        (None, [CounterRow(TICKET_TYPE, False, 9, 6)]),
        (None, [CounterRow(TICKET_TYPE, True, 8, 6)]),
        (None, [CounterRow(TICKET_TYPE, True, 9, 6), CounterRow(8, True, 1, 0)]),
    ],
)
def test_lane_and_counters_say_what_the_ledger_says(
    lane: LaneRow | None, counters: list[CounterRow] | None
) -> None:
    sale, found = every_kind(), Findings()
    replay = Replay(1, found, lambda _: None)
    replay.feed(sale.batches, sale.rows)
    if counters is None:
        replay.finish(lane, [sale.counter()])
        assert set(found.counts) == {"numbering"}
    else:
        replay.finish(sale.lane(), counters)
        assert set(found.counts) == {"inventory"}


def test_what_was_withdrawn_whole_needs_no_counter() -> None:
    sale, found = lived_through([("issue", -2), ("issue", -2)]), Findings()
    sale.issue(4 - ISSUED)
    replay = Replay(1, found, lambda _: None)
    replay.feed(sale.batches, sale.rows)
    replay.finish(sale.lane(), [])
    assert not found.counts


def test_an_earlier_batch_that_passed_a_request_over_is_not_forgotten() -> None:
    """The last one to pass it over denies it, yet the first had seen it."""
    sale = lived_through([("begin", "buy"), ("commit", 0)] * 3 + [("decide", 1)] * 3)
    for number, xid in ((2, 102), (3, 103), (4, 101)):
        sale.change(number, seq=xid, accepted_xid=xid)
    for nth, seen in (
        (1, Snapshot(110, 110, frozenset())),
        (2, Snapshot(101, 120, frozenset({101}))),
        (3, Snapshot(120, 120, frozenset())),
    ):
        _batch(nth, seen=seen)(sale)
    assert "first_come" in sale.broken()


def test_a_batch_sees_the_change_of_capacity_before_it() -> None:
    sale = lived_through([("issue", 1), ("begin", "buy"), ("commit", 0), ("decide", 1)])
    assert sale.broken() == set()
    change, batch = sale.rows[1], sale.batches[2]
    xid = change.accepted_xid
    _batch(2, seen=Snapshot(xid, batch.seen.xmax, frozenset({xid})))(sale)
    assert sale.broken() == {"first_come"}


class Former(msgspec.Struct):
    """Two ticket types as before the ledger: each decided in its own order."""

    found: Findings
    replay: Replay
    number: int = 0

    def batch(self, ticket_type_id: int | None, seen: int, *rows: tuple[int, int]) -> None:
        """Rows: ticket type and sequence number, which is the transaction's id, too."""
        first = self.number + 1
        entries = []
        for of, seq in rows:
            self.number += 1
            is_issue = seq == 0
            template = every_kind().rows[0 if is_issue else 1]
            left = 10 if is_issue else 10 - self._sold(of)
            entries.append(
                msgspec.structs.replace(
                    template,
                    number=self.number,
                    seq=seq,
                    accepted_xid=seq,
                    accepted_at=0.0,
                    ticket_type_id=of,
                    asked_ticket_type_id=of,
                    quantity=10 if is_issue else 1,
                    change=10 if is_issue else -1,
                    left_after=left,
                )
            )
        row = BatchRow(first, self.number, 0.0, Snapshot(seen, seen, frozenset()), ticket_type_id)
        self.replay.feed([row], entries)

    def _sold(self, ticket_type_id: int) -> int:
        self._bought[ticket_type_id] = self._bought.get(ticket_type_id, 0) + 1
        return self._bought[ticket_type_id]

    _bought: dict[int, int] = {}


def former() -> Former:
    found = Findings()
    sale = Former(found, Replay(1, found, lambda _: None))
    sale.batch(1, 1, (1, 0))
    sale.batch(2, 1, (2, 0))
    return sale


def test_batches_from_before_the_ledger_are_proved_within_their_ticket_type() -> None:
    sale = former()
    sale.batch(1, 50, (1, 20), (1, 40))
    sale.batch(2, 45, (2, 10), (2, 30))  # earlier ones of another ticket type, and a younger view
    sale.batch(1, 60, (1, 50))
    sale.batch(None, 60, (2, 35), (1, 55))
    assert not sale.found.counts


@pytest.mark.parametrize(
    "batches",
    [
        [(1, 50, (1, 20), (1, 10))],
        [(1, 50, (1, 20)), (1, 50, (1, 10))],
        [(1, 15, (1, 20))],
        [(1, 50, (1, 20)), (1, 45, (1, 30)), (1, 60, (1, 40))],
        [(1, 50, (2, 20))],
        [(1, 50, (1, 20)), (None, 60, (1, 10))],
        [(None, 60, (1, 10)), (1, 60, (1, 20))],
    ],
)
def test_batches_from_before_the_ledger_are_held_to_their_order(batches: list[Any]) -> None:
    sale = former()
    for ticket_type_id, seen, *rows in batches:
        sale.batch(ticket_type_id, seen, *rows)
    assert set(sale.found.counts) == {"first_come"}
