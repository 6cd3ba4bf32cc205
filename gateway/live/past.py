"""The past of a sale as its ledger has it, in equal steps of time. Pure.

It grows by the entries since the last look and takes the same memory however long a sale was: when
there are too many steps, they become wider.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from shared.database.ledger import REFUSED
from shared.purchases import CANCELLED, CONFIRMED, EXPIRED, HELD, REJECTED, RELEASED

STEPS_MAX: Final = 300
# In seconds; each divides the next, so that narrow steps add up to wide ones.
WIDTHS: Final = (1, 2, 10, 30, 60, 120, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)
# Of each kind: the newest.
MARKS_MAX: Final = 200
CAPACITY: Final = ("issued", "withdrawn")

MarkKind = Literal["opening", "paused", "resumed", "capacity", "sold_out", "closing"]


class Entries(msgspec.Struct, frozen=True, gc=False):
    """Entries of one second and kind. `of_purchase`: they changed an earlier purchase.

    `change`: of what is left. `number`: of an entry that stands alone, because it may be a mark.
    """

    second: int
    kind: str
    reason: str | None
    of_purchase: bool
    count: int
    quantity: int
    change: int
    number: int | None = None


class Refusals(msgspec.Struct, frozen=True):
    """Requests that were refused before they were queued, within some `seconds` from one on."""

    second: int
    code: str
    count: int
    seconds: int = 1


class Mark(NamedTuple):
    """What happened at a moment, in seconds since 1970. `change`: of the capacity."""

    at: float
    kind: MarkKind
    ticket_type: int | None = None
    change: int | None = None


class Step(msgspec.Struct):
    """What happened in a step: changes of tickets, and counts of purchases."""

    left: int = 0
    held: int = 0
    confirmed: int = 0
    decided: int = 0
    accepted: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: "Step") -> None:
        self.left += other.left
        self.held += other.held
        self.confirmed += other.confirmed
        self.decided += other.decided
        self.accepted += other.accepted
        self.refused += other.refused


class Past:
    """What the entries up to `number` add up to.

    Steps begin with the first purchase: a capacity may have been set months before.

    Args:
        number: of the entry after which it begins.
        first: the second in which steps begin, in place of the first purchase's.
    """

    def __init__(self, number: int = 0, first: int | None = None) -> None:
        self.number = number
        # Whether acceptance was looked up for every entry, and not for a sample of them.
        self.is_exact = True
        self.total = Step()
        # What came before the first step: before `number`, and of the entries after it.
        self._begin = Step()
        self._before = Step()
        self.first = first
        self._is_part = first is not None
        self._width = WIDTHS[0]
        self._steps: dict[int, Step] = {}
        self._capacity: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._sold_out: deque[Mark] = deque(maxlen=MARKS_MAX)

    def add(self, entries: Iterable[Entries]) -> None:
        """The next ones, in any order."""
        found = list(entries)
        if self.first is None:
            sales = [each.second for each in found if each.kind not in CAPACITY]
            self.first = min(sales, default=None)
        for each in found:
            step = _step_of(each)
            self.total.add(step)
            self._step(each.second).add(step)

    def add_accepted(self, second: int, count: int) -> None:
        """Purchases that were decided by now, by the time of their acceptance."""
        self.total.accepted += count
        if self.first is None:
            return
        # The first purchases of a sale may be decided in the second after their acceptance.
        at = second if self._is_part else max(second, self.first)
        self._step(at).accepted += count

    def add_mark(self, mark: Mark) -> None:
        (self._capacity if mark.kind == "capacity" else self._sold_out).append(mark)

    def begin_with(self, total: Step) -> None:
        """What all entries up to `number` add up to, also those before it began."""
        for name in ("left", "held", "confirmed", "decided", "accepted"):
            before = getattr(total, name) - getattr(self.total, name)
            setattr(self._begin, name, before)

    @property
    def marks(self) -> list[Mark]:
        return [*self._capacity, *self._sold_out]

    def history(
        self, refusals: Iterable[Refusals], queued: int | None
    ) -> tuple[int, list[dict[str, Any]]]:
        """The seconds of a step, and a point for each.

        Args:
            refusals: those that are not in the ledger.
            queued: how many are now.
        """
        others = list(refusals)
        first = self.first
        if first is None:
            first = min((each.second for each in others), default=None)
        if first is None:
            return self._width, []
        # Some of those that are counted from before the first purchase on may be of after it.
        others = [each for each in others if each.second + each.seconds > first]
        last = max(
            [first, *(index * self._width for index in self._steps)]
            + [each.second for each in others]
        )
        width = next(
            each for each in widths(self._width) if last // each - first // each < STEPS_MAX
        )
        steps: dict[int, Step] = {}
        for index, step in self._steps.items():
            steps.setdefault(index * self._width // width, Step()).add(step)
        for each in others:
            index = max(each.second, first) // width
            steps.setdefault(index, Step()).refused[each.code] += each.count
        so_far = Step()
        for before in (self._begin, self._before):
            so_far.add(before)
        points = []
        for index in range(first // width, last // width + 1):
            step = steps.get(index, NOTHING)
            so_far.add(step)
            points.append(
                {
                    "at": index * width,
                    "left": so_far.left,
                    "held": so_far.held,
                    "confirmed": so_far.confirmed,
                    "queued": so_far.accepted - so_far.decided if self.is_exact else None,
                    "decided": step.decided,
                    "accepted": step.accepted,
                    "refused": dict(step.refused),
                }
            )
        points[-1]["queued"] = queued
        return width, points

    def _step(self, second: int) -> Step:
        if self.first is None or second < self.first:
            return self._before
        while second // self._width - self.first // self._width >= STEPS_MAX:
            self._widen()
        return self._steps.setdefault(second // self._width, Step())

    def _widen(self) -> None:
        narrow, steps = self._width, self._steps
        self._width = next(width for width in widths(narrow) if width > narrow)
        self._steps = {}
        for index, step in steps.items():
            self._steps.setdefault(index * narrow // self._width, Step()).add(step)


NOTHING: Final = Step()


def widths(at_least: int) -> Iterator[int]:
    yield from (width for width in WIDTHS if width >= at_least)
    width = max(WIDTHS[-1] * 2, at_least)
    while True:
        yield width
        width *= 2


def _step_of(entries: Entries) -> Step:
    kind, quantity = entries.kind, entries.quantity
    step = Step(left=entries.change)
    if kind == HELD:
        step.held = quantity
    elif kind == CONFIRMED:
        step.confirmed = quantity
    elif kind == CANCELLED:
        step.confirmed = -quantity
    if entries.of_purchase and kind in (CONFIRMED, RELEASED, EXPIRED):
        step.held = -quantity
    if kind in (HELD, REJECTED) or (kind == CONFIRMED and not entries.of_purchase):
        step.decided = entries.count
    if kind in (REJECTED, REFUSED) and entries.reason is not None:
        step.refused[entries.reason] = entries.count
    return step


def all_marks(
    past: Iterable[Mark],
    others: Iterable[Mark],
    width: int,
    since: float | None,
    until: float,
) -> list[dict[str, Any]]:
    """Between two moments, in their order; of a ticket type one `sold_out` in a step."""
    kept: dict[object, Mark] = {}
    for mark in sorted((*past, *others), key=lambda mark: mark.at):
        where = mark.at // width if mark.kind == "sold_out" else len(kept)
        if (since or 0) <= mark.at <= until:
            kept.setdefault((mark.kind, mark.ticket_type, where), mark)
    return [
        {
            "at": mark.at,
            "kind": mark.kind,
            "ticket_type": mark.ticket_type,
            "change": mark.change,
        }
        for mark in kept.values()
    ]
