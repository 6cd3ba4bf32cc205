"""The replay: what honest histories look like, and what no honest history can."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from purchase_worker.audit.findings import HOLDS, Findings
from purchase_worker.audit.limits import Bought, check_limits
from purchase_worker.audit.order import BatchRow, Snapshot
from purchase_worker.audit.replay import Replay
from purchase_worker.audit.rows import CounterRow, EntryRow, HoldRow, LaneRow, WaitingRow
from purchase_worker.decision import (
    Buy,
    Cancel,
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
)
from shared.purchases import CANCELLED, CONFIRMED, HELD, TIME_FORMAT

ISSUED = 10
TICKET_TYPE = 7
# A second is a transaction.
HOLD_SECONDS = 6
EXTEND_SECONDS = 4


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
    sold: int = 0
    # By id: of each purchase that was accepted, what later commands about it are read with.
    bought: dict[str, dict[str, Any]] = {}

    def begin(self, kind: str) -> None:
        xid = self._new_xid()
        kind, _, nth = kind.partition(" ")
        about = list(self.bought)[int(nth or xid) % len(self.bought)] if self.bought else None
        self.open.append(Accepted(xid, _command(kind, xid, about)))

    def commit(self, which: int) -> None:
        accepted = self.open.pop(which % len(self.open))
        self.queued.append(accepted)
        self.completed_xid = max(self.completed_xid, accepted.xid)
        if isinstance(accepted.command, Buy):
            self.bought[accepted.command.id] = _earlier(accepted.command)

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
            self._write([Accepted(own_xid, Issue(f"r{own_xid}", TICKET_TYPE, change))], own=True)
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
        holds = self.holds()
        if replay.check_holds(holds) != replay.open_holds:
            found.add(HOLDS, "some are not in the list")
        check_limits(bought, found, 1)
        assert set(found.examples) == set(found.counts), found.examples
        return set(found.counts)

    def lane(self) -> LaneRow:
        at = self.batches[-1].at if self.batches else 0.0
        return LaneRow(len(self.rows), at, extended_seconds=self.state.extended_seconds)

    def counter(self) -> CounterRow:
        left, held = (of.get(TICKET_TYPE, 0) for of in (self.state.left, self.state.held))
        return CounterRow(TICKET_TYPE, True, left + held + self.sold, held, self.sold)

    def holds(self) -> list[HoldRow]:
        held = {id_: p for id_, p in self.state.purchases.items() if p.status == HELD}
        return [
            HoldRow(
                id_,
                self.bought[id_]["number"],
                HELD,
                None,
                datetime.fromisoformat(purchase.ends_at or "").timestamp()
                - (self.bought[id_]["at"] + HOLD_SECONDS),
            )
            for id_, purchase in held.items()
        ]

    def waiting(self) -> list[WaitingRow]:
        return [
            WaitingRow(row.command.id, row.rank[0], row.xid, True, None, row.xid, 0.0)
            for row in sorted(self.queued, key=lambda row: row.rank)
        ]

    def change(self, nth: int, **changes: Any) -> None:
        self.rows[nth - 1] = msgspec.structs.replace(self.rows[nth - 1], **changes)

    def _write(self, batch: list[Accepted], *, own: bool = False) -> None:
        if not batch:
            return
        first, seen = self.state.number + 1, self._snapshot()
        at = max(float(accepted.xid) for accepted in batch)
        if self.batches:
            at = max(at, self.batches[-1].at)
        commands = [accepted.command for accepted in batch]
        time = datetime.fromtimestamp(at, UTC).strftime(TIME_FORMAT)
        entries, self.state = decide(self.state, time, commands)
        for entry, accepted in zip(entries, batch, strict=True):
            self._add(entry, accepted.xid, at)
        self.batches.append(BatchRow(first, self.state.number, at, seen, by_drain=not own))

    def _add(self, entry: Entry, xid: int, at: float) -> None:
        command = entry.command
        about = self.bought.get(getattr(command, "purchase_id", ""))
        self.rows.append(_row(entry, xid, about))
        if isinstance(command, Buy):
            self.bought[command.id].update(number=entry.number, kind=entry.kind, at=at)
            purchase = Purchase(command.holder, command.lines, entry.kind)
            self.state = msgspec.structs.replace(
                self.state, purchases={command.id: purchase} | dict(self.state.purchases)
            )
        elif about is not None and entry.purchase_id is not None:
            reference = getattr(command, "payment_reference", None)
            about["entries"] = [*about["entries"], (entry.kind, reference, _stored(entry))]
        for change in entry.changes:
            quantity = change.quantity or -change.change
            if entry.kind in (CONFIRMED, CANCELLED):
                self.sold += quantity if entry.kind == CONFIRMED else -quantity

    def _new_xid(self) -> int:
        self.next_xid += 1
        return self.next_xid - 1

    def _snapshot(self) -> Snapshot:
        xmax = self.completed_xid + 1
        in_progress = frozenset(row.xid for row in self.open if row.xid < xmax)
        return Snapshot(min(in_progress, default=xmax), xmax, in_progress)


def _command(kind: str, xid: int, about: str | None) -> Command:
    id_ = f"r{xid}"
    lines = (Line(TICKET_TYPE, 1 + xid % 2, 5),)
    if about is not None:
        match kind:
            case "confirm":
                return Confirm(id_, about, f"paid by {xid}")
            case "release":
                return Release(id_, about)
            case "expire":
                return Expire(id_, about)
            case "cancel":
                return Cancel(id_, about, (Line(TICKET_TYPE, 1),), restock=xid % 3 > 0)
    match kind:
        case "issue":
            return Issue(id_, TICKET_TYPE, 1)
        case "withdraw":
            return Issue(id_, TICKET_TYPE, -1)
        case "extend":
            return Extend(id_, EXTEND_SECONDS)
    return Buy(id_, xid % 3 + 1, lines, hold_seconds=HOLD_SECONDS if kind == "hold" else None)


ASKED = {Confirm: "confirm", Release: "release", Expire: "expire", Cancel: "cancel"}


def _earlier(command: Buy) -> dict[str, Any]:
    return {
        "user_id": command.user_id,
        "buyer": "",
        "hold_seconds": command.hold_seconds,
        "currency": "EUR",
        "items": [
            {"ticket_type": id_, "quantity": quantity, "unit_price": "2.50", "user_limit": limit}
            for id_, quantity, limit in map(msgspec.structs.astuple, command.lines)
        ],
        "number": None,
        "kind": None,
        "at": None,
        "entries": [],
    }


def _stored(entry: Entry) -> list[dict[str, int]]:
    lines = [
        {
            "ticket_type": change.ticket_type_id,
            "change": change.change,
            "left_after": change.left_after,
            "quantity": change.quantity,
            "cancelled": change.cancelled,
        }
        for change in entry.changes
    ]
    return [{name: n for name, n in line.items() if n is not None} for line in lines]


def _row(entry: Entry, xid: int, about: dict[str, Any] | None = None) -> EntryRow:
    command = entry.command
    asked = ASKED.get(type(command))
    values: dict[str, Any] = {
        "number": entry.number,
        "kind": entry.kind,
        "reason": entry.reason,
        "id": command.id,
        "seq": xid,
        "accepted_xid": xid,
        "accepted_at": float(xid),
        "user_id": 0,
        "user_limit": None,
        "event_limit": None,
        "asked_items": None,
    }
    if isinstance(command, Buy | Issue):
        (change,) = entry.changes
        values |= {
            "ticket_type_id": change.ticket_type_id,
            "change": change.change,
            "left_after": change.left_after,
            "items": None,
            "asked_ticket_type_id": TICKET_TYPE,
        }
    else:
        values |= {"ticket_type_id": None, "change": 0, "left_after": 0}
        values |= {"items": json.dumps(_stored(entry)), "asked_ticket_type_id": None, "quantity": 0}
    terms: dict[str, Any] = {}
    if isinstance(command, Buy):
        (line,) = command.lines
        values |= {"asked": "buy", "user_id": command.user_id, "quantity": line.quantity}
        values["user_limit"] = line.user_limit
        if command.hold_seconds is not None:
            terms = {"hold_seconds": command.hold_seconds}
    elif isinstance(command, Issue):
        asked = "issue" if command.change > 0 else "withdraw"
        values |= {"asked": asked, "quantity": abs(command.change)}
    elif isinstance(command, Extend):
        values["asked"] = "extend"
        terms = {"hold_seconds": command.seconds}
    else:
        assert about is not None
        values["asked"] = asked
        terms = {
            "purchase_id": command.purchase_id,
            "changed": entry.purchase_id,
            "purchase": about,
        }
    if isinstance(command, Confirm):
        quantity = sum(item["quantity"] for item in (about or {})["items"])
        terms["payment_reference"] = command.payment_reference
        terms |= {"amount": f"{2.5 * quantity}", "currency": "EUR"}
    if isinstance(command, Cancel):
        terms["restock"] = command.restock
        values["asked_items"] = json.dumps([{"ticket_type": TICKET_TYPE, "quantity": 1}])
    return EntryRow(**values, stored_terms=json.dumps(terms) if terms else None)


KINDS = (
    *("buy", "buy", "buy", "hold", "hold", "hold", "issue", "withdraw"),
    *("confirm", "confirm", "release", "expire", "expire", "cancel", "cancel", "extend"),
)
steps = st.lists(
    st.tuples(st.just("begin"), st.sampled_from(KINDS))
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


# Every outcome of a resolution; a number is that of the purchase that it is about.
LIFE_OF_HOLDS: list[tuple[str, Any]] = [
    step
    for kind in (
        *("hold", "expire 0", "extend", "confirm 0", "confirm 0", "cancel 0", "cancel 0"),
        *("cancel 0", "hold", "release 1", "confirm 1", "release 1", "hold", "cancel 2", "extend"),
        *("extend", "issue", "expire 2", "issue", "withdraw", "issue", "expire 2", "confirm 2"),
        *("buy", "confirm 3", "cancel 3", "hold", *["buy"] * 9, "confirm 4", "buy"),
    )
    for step in (("begin", kind), ("commit", 0), ("decide", 1))
]


def test_holds_live_through_everything() -> None:
    sale = lived_through(LIFE_OF_HOLDS)
    assert sale.broken() == set()
    outcomes = {row.reason or row.kind for row in sale.rows}
    assert outcomes > {"held", "confirmed", "released", "expired", "cancelled", "extended"}
    assert outcomes > {"not_due", "hold_expired", "hold_released", "already_confirmed", "not_held"}
    assert outcomes > {"not_confirmed", "already_cancelled", "not_enough_tickets", "all_held"}


# A user has four tickets of five; one is cancelled, and two are bought in the same batch.
CANCELLED_AND_BOUGHT: list[tuple[str, Any]] = [
    *[("begin", "buy"), ("begin", "buy"), ("begin", "buy"), ("commit", 0), ("commit", 0)],
    *[("decide", 1), ("decide", 1), ("decide", 1), ("begin", "buy"), ("begin", "buy")],
    *[("decide", 1), ("begin", "cancel"), ("commit", 0), ("decide", 1), ("decide", 1)],
    *[("begin", "buy"), *[("commit", 0)] * 4, ("decide", 4)],
]


@example(CANCELLED_AND_BOUGHT)
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
    rows = [row for row in sale.rows if row.items != "[]"]
    row = data.draw(st.sampled_from(rows))
    if row.items is not None:
        (line,) = json.loads(row.items)
        field = data.draw(st.sampled_from(sorted(line)))
        sale.change(row.number, items=json.dumps([line | {field: line[field] + 1}]))
    else:
        field = data.draw(st.sampled_from(["change", "left_after", "quantity", "ticket_type_id"]))
        if row.kind in ("rejected", "refused") and field == "quantity":
            field = "change"
        sale.change(row.number, **{field: getattr(row, field) + 1})
    assert "outcomes" in sale.broken()


@given(steps, st.data())
def test_no_resolution_has_another_outcome(
    history: list[tuple[str, Any]], data: st.DataObject
) -> None:
    sale = lived_through(history + LIFE_OF_HOLDS)
    resolutions = [row for row in sale.rows if row.items is not None]
    row = data.draw(st.sampled_from(resolutions))
    kinds = {"confirmed", "released", "expired", "cancelled", "refused", "extended"}
    kind = data.draw(st.sampled_from(sorted(kinds - {row.kind})))
    sale.change(row.number, kind=kind)
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
        (None, [CounterRow(TICKET_TYPE, True, 9, 1, 6)]),
        (None, [CounterRow(TICKET_TYPE, True, None, None, None)]),
        (None, []),
        (None, [CounterRow(TICKET_TYPE, False, 9, 0, 6)]),
        (None, [CounterRow(TICKET_TYPE, True, 8, 0, 6)]),
        (None, [CounterRow(TICKET_TYPE, True, 9, 0, 6), CounterRow(8, True, 1, 0, 0)]),
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


@pytest.mark.parametrize(
    "changes",
    [{"number": None}, {"kind": CONFIRMED}, {"ended": 9}, {"moved_seconds": 0.000001}],
)
def test_an_open_hold_is_one_that_no_entry_ended_and_ends_when_it_was_said(
    changes: dict[str, Any],
) -> None:
    hold: list[tuple[str, Any]] = [("begin", "hold"), ("commit", 0), ("decide", 1)]
    extend: list[tuple[str, Any]] = [("begin", "extend"), ("commit", 0), ("decide", 1)]
    sale, found = lived_through(hold + extend + hold), Findings()
    replay = Replay(1, found, lambda _: None)
    replay.feed(sale.batches, sale.rows)
    replay.finish(sale.lane(), [sale.counter()])
    first, second = sorted(sale.holds(), key=lambda hold: hold.number or 0)
    assert (first.moved_seconds, second.moved_seconds) == (0, -EXTEND_SECONDS)
    assert replay.check_holds([first, second]) == replay.open_holds == 2
    assert not found.counts
    replay.check_holds([msgspec.structs.replace(first, **changes)])
    assert set(found.counts) == {"holds"}


@pytest.mark.parametrize(
    "changes", [{"amount": "2.51"}, {"amount": None}, {"currency": "USD"}, {"paid_too": "r1"}]
)
def test_a_payment_is_of_the_price_and_confirms_one_purchase(changes: dict[str, Any]) -> None:
    sale = lived_through(LIFE_OF_HOLDS)
    row = next(row for row in sale.rows if (row.asked, row.kind) == ("confirm", CONFIRMED))
    terms = json.loads(row.stored_terms or "")
    sale.change(row.number, stored_terms=json.dumps(terms | changes))
    assert sale.broken() == {"payments"}


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
