"""The rule of a sale: what each command of an event's lane does. Pure; it reads nothing.

Commands are decided in the order of the lane: resolutions before purchases, and each of these two
classes in the order of acceptance. A purchase is taken whole or rejected whole; a later, smaller
one may still fit. Splitting the commands into batches of the same time changes no entry.

A purchase with `hold_seconds` is held, not confirmed. A hold is over when an entry says so, not
when a clock does: a confirmation that comes before the expiry is good, even late.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from shared.purchases import (
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    HELD,
    REJECTED,
    RELEASED,
    TIME_FORMAT,
)

NOT_ENOUGH_TICKETS: Final = "not_enough_tickets"
ALL_HELD: Final = "all_held"
OVER_USER_LIMIT: Final = "over_user_limit"
NOT_HELD: Final = "not_held"
HOLD_EXPIRED: Final = "hold_expired"
HOLD_RELEASED: Final = "hold_released"
NOT_DUE: Final = "not_due"
ALREADY_CONFIRMED: Final = "already_confirmed"
NOT_CONFIRMED: Final = "not_confirmed"
ALREADY_CANCELLED: Final = "already_cancelled"
EXTENSION_LIMIT: Final = "extension_limit"
ISSUED: Final = "issued"
WITHDRAWN: Final = "withdrawn"
EXTENDED: Final = "extended"
REFUSED: Final = "refused"

# All extensions of an event together: a year.
EXTENDED_MAX_SECONDS: Final = 365 * 86_400

# Who has tickets: an account, and whom it buys for with a key, or ''.
Holder = tuple[int, str]


class Line(msgspec.Struct, frozen=True, gc=False):
    """Tickets of one type. `user_limit`: how many of them one holder may have; None: no limit."""

    ticket_type_id: int
    quantity: int
    user_limit: int | None = None


class Buy(msgspec.Struct, frozen=True, gc=False):
    """A purchase request with its terms, which were frozen at acceptance.

    `event_limit`: tickets of all types of the event that one holder may have; None: no limit.
    `hold_seconds`: how long they are held for the payment; None: confirmed at once.
    """

    id: str
    user_id: int
    lines: tuple[Line, ...]
    event_limit: int | None = None
    hold_seconds: int | None = None
    buyer: str = ""

    @property
    def holder(self) -> Holder:
        return self.user_id, self.buyer

    @property
    def has_limit(self) -> bool:
        return self.event_limit is not None or any(
            line.user_limit is not None for line in self.lines
        )


class Issue(msgspec.Struct, frozen=True, gc=False):
    """More tickets of a type, or fewer if `change` is negative: that withdraws what is left."""

    id: str
    ticket_type_id: int
    change: int


class Confirm(msgspec.Struct, frozen=True, gc=False):
    """A held purchase is paid."""

    id: str
    purchase_id: str
    payment_reference: str


class Release(msgspec.Struct, frozen=True, gc=False):
    """The buyer gives a held purchase up."""

    id: str
    purchase_id: str


class Expire(msgspec.Struct, frozen=True, gc=False):
    """A hold seemed due when this was queued; it ends if it still is."""

    id: str
    purchase_id: str


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Tickets of a confirmed purchase are given back; with `restock` they go back on sale."""

    id: str
    purchase_id: str
    lines: tuple[Line, ...]
    restock: bool


class Extend(msgspec.Struct, frozen=True, gc=False):
    """All holds of the event end later."""

    id: str
    seconds: int


Resolution = Confirm | Release | Expire | Cancel
Command = Buy | Issue | Resolution | Extend


class Change(msgspec.Struct, frozen=True, gc=False):
    """What an entry did to one ticket type. `change`: of what is left.

    Of an earlier purchase also how many tickets of it are meant, and of a cancellation how many of
    the line are cancelled so far.
    """

    ticket_type_id: int
    change: int
    left_after: int
    quantity: int | None = None
    cancelled: int | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The one answer to a command. `number` counts from 1 for each event."""

    number: int
    command: Command
    kind: str
    reason: str | None
    changes: tuple[Change, ...]

    @property
    def purchase_id(self) -> str | None:
        """The earlier purchase that it changed."""
        return None if self.kind == REFUSED else getattr(self.command, "purchase_id", None)


class Purchase(msgspec.Struct, frozen=True, gc=False):
    """A purchase as its newest entry left it.

    `ends_at`: of a hold, when it would end without the event's `extended_seconds`. `cancelled`:
    tickets by type.
    """

    holder: Holder
    lines: tuple[Line, ...]
    status: str
    ends_at: str | None = None
    payment_reference: str | None = None
    cancelled: Mapping[int, int] = {}


# Tickets by holder and ticket type.
Owned = Mapping[Holder, Mapping[int, int]]


class State(msgspec.Struct, frozen=True):
    """An event between two entries.

    `number`: of its newest entry. `at`: of its newest batch; texts of times that compare as the
    times do. `left`, `held`: tickets by type, to be had and on hold. `owned`: held or confirmed; at
    least of those holders whose commands have a limit. `purchases`: at least those that commands
    resolve. `extended_seconds`: by how much all holds were extended.
    """

    number: int
    at: str
    left: Mapping[int, int]
    held: Mapping[int, int] = {}
    owned: Owned = {}
    purchases: Mapping[str, Purchase] = {}
    extended_seconds: int = 0


class _Lane(msgspec.Struct):
    """A state that the commands of a batch change."""

    at: str
    left: dict[int, int]
    held: dict[int, int]
    owned: dict[Holder, dict[int, int]]
    purchases: dict[str, Purchase]
    extended_seconds: int


# Kind, reason and changes of an entry.
Answer = tuple[str, str | None, tuple[Change, ...]]


def decide(state: State, at: str, commands: Iterable[Command]) -> tuple[list[Entry], State]:
    """Decide each command in order; returns the entries and the state after them.

    Args:
        state: of the event. A ticket type that `left` does not name has nothing left.
        at: when. Time never goes back: an earlier one counts as the state's.
        commands: in the order of the lane.
    """
    lane = _Lane(
        max(state.at, at),
        dict(state.left),
        dict(state.held),
        {holder: dict(tickets) for holder, tickets in state.owned.items()},
        dict(state.purchases),
        state.extended_seconds,
    )
    entries = [
        Entry(number, command, *_ANSWERS[type(command)](lane, command))
        for number, command in enumerate(commands, state.number + 1)
    ]
    after = State(
        state.number + len(entries),
        lane.at,
        lane.left,
        lane.held,
        lane.owned,
        lane.purchases,
        lane.extended_seconds,
    )
    return entries, after


@lru_cache(maxsize=1_024)
def later(at: str, seconds: int) -> str:
    """A time, so many seconds later."""
    return (datetime.fromisoformat(at) + timedelta(seconds=seconds)).strftime(TIME_FORMAT)


def _buy(lane: _Lane, command: Buy) -> Answer:
    """All lines or none."""
    has = lane.owned.setdefault(command.holder, {})
    reason = _why_rejected(lane, command, has)
    if reason is not None:
        unchanged = tuple(
            Change(line.ticket_type_id, 0, lane.left.get(line.ticket_type_id, 0))
            for line in command.lines
        )
        return REJECTED, reason, unchanged
    changes = []
    for line in command.lines:
        id_, quantity = line.ticket_type_id, line.quantity
        remaining = lane.left[id_] - quantity
        lane.left[id_] = remaining
        has[id_] = has.get(id_, 0) + quantity
        changes.append(Change(id_, -quantity, remaining))
    if command.hold_seconds is None:
        return CONFIRMED, None, tuple(changes)
    for line in command.lines:
        lane.held[line.ticket_type_id] = lane.held.get(line.ticket_type_id, 0) + line.quantity
    ends_at = later(lane.at, command.hold_seconds - lane.extended_seconds)
    lane.purchases[command.id] = Purchase(command.holder, command.lines, HELD, ends_at)
    return HELD, None, tuple(changes)


def _why_rejected(lane: _Lane, command: Buy, has: Mapping[int, int]) -> str | None:
    left = lane.left
    for line in command.lines:
        if line.quantity > left.get(line.ticket_type_id, 0):
            return _why_short(lane, command)
    for line in command.lines:
        limit = line.user_limit
        if limit is not None and has.get(line.ticket_type_id, 0) + line.quantity > limit:
            return OVER_USER_LIMIT
    if command.event_limit is not None:
        wanted = sum(line.quantity for line in command.lines)
        if sum(has.values()) + wanted > command.event_limit:
            return OVER_USER_LIMIT
    return None


def _why_short(lane: _Lane, command: Buy) -> str:
    """Whether all would fit if everything on hold came back."""
    for line in command.lines:
        id_ = line.ticket_type_id
        if line.quantity > lane.left.get(id_, 0) + lane.held.get(id_, 0):
            return NOT_ENOUGH_TICKETS
    return ALL_HELD


def _issue(lane: _Lane, command: Issue) -> Answer:
    """Refused if it withdraws more than is left."""
    id_, change = command.ticket_type_id, command.change
    remaining = lane.left.get(id_, 0) + change
    if remaining < 0:
        return REFUSED, NOT_ENOUGH_TICKETS, (Change(id_, 0, remaining - change),)
    lane.left[id_] = remaining
    return ISSUED if change > 0 else WITHDRAWN, None, (Change(id_, change, remaining),)


def _confirm(lane: _Lane, command: Confirm) -> Answer:
    purchase = lane.purchases.get(command.purchase_id)
    if purchase is None or purchase.status != HELD:
        return _refused(_why_not_held(purchase))
    for line in purchase.lines:
        lane.held[line.ticket_type_id] -= line.quantity
    lane.purchases[command.purchase_id] = replace(
        purchase, status=CONFIRMED, ends_at=None, payment_reference=command.payment_reference
    )
    kept = tuple(
        Change(line.ticket_type_id, 0, lane.left.get(line.ticket_type_id, 0), line.quantity)
        for line in purchase.lines
    )
    return CONFIRMED, None, kept


def _release(lane: _Lane, command: Release) -> Answer:
    purchase = lane.purchases.get(command.purchase_id)
    if purchase is None or purchase.status != HELD:
        return _refused(_why_not_held(purchase))
    return _end_hold(lane, command.purchase_id, purchase, RELEASED)


def _expire(lane: _Lane, command: Expire) -> Answer:
    purchase = lane.purchases.get(command.purchase_id)
    if purchase is None or purchase.status != HELD or purchase.ends_at is None:
        return _refused(_why_not_held(purchase))
    if later(purchase.ends_at, lane.extended_seconds) > lane.at:
        return _refused(NOT_DUE)
    return _end_hold(lane, command.purchase_id, purchase, EXPIRED)


def _end_hold(lane: _Lane, id_: str, purchase: Purchase, status: str) -> Answer:
    """All its tickets are to be had again."""
    for line in purchase.lines:
        lane.held[line.ticket_type_id] -= line.quantity
    lane.purchases[id_] = replace(purchase, status=status, ends_at=None)
    return status, None, tuple(_give_back(lane, purchase, line) for line in purchase.lines)


def _give_back(lane: _Lane, purchase: Purchase, line: Line, *, restock: bool = True) -> Change:
    """The holder has fewer tickets; with `restock` as many more are left."""
    id_, quantity = line.ticket_type_id, line.quantity
    has = lane.owned.get(purchase.holder)
    if has is not None:
        has[id_] = has.get(id_, 0) - quantity
    change = quantity if restock else 0
    lane.left[id_] = lane.left.get(id_, 0) + change
    return Change(id_, change, lane.left[id_], quantity)


def _cancel(lane: _Lane, command: Cancel) -> Answer:
    """All lines or none."""
    purchase = lane.purchases.get(command.purchase_id)
    if purchase is None or purchase.status != CONFIRMED:
        return _refused(NOT_CONFIRMED)
    bought = {line.ticket_type_id: line.quantity for line in purchase.lines}
    cancelled = dict(purchase.cancelled)
    for line in command.lines:
        id_ = line.ticket_type_id
        cancelled[id_] = cancelled.get(id_, 0) + line.quantity
        if cancelled[id_] > bought.get(id_, 0):
            return _refused(ALREADY_CANCELLED)
    lane.purchases[command.purchase_id] = replace(purchase, cancelled=cancelled)
    changes = tuple(
        replace(
            _give_back(lane, purchase, line, restock=command.restock),
            cancelled=cancelled[line.ticket_type_id],
        )
        for line in command.lines
    )
    return CANCELLED, None, changes


def _extend(lane: _Lane, command: Extend) -> Answer:
    if lane.extended_seconds + command.seconds > EXTENDED_MAX_SECONDS:
        return _refused(EXTENSION_LIMIT)
    lane.extended_seconds += command.seconds
    return EXTENDED, None, ()


def _why_not_held(purchase: Purchase | None) -> str:
    match purchase:
        case Purchase(status="expired"):
            return HOLD_EXPIRED
        case Purchase(status="released"):
            return HOLD_RELEASED
        case Purchase(status="confirmed", payment_reference=str()):
            return ALREADY_CONFIRMED
    return NOT_HELD


def _refused(reason: str) -> Answer:
    return REFUSED, reason, ()


_ANSWERS: Mapping[type[Command], Callable[[_Lane, Any], Answer]] = {
    Buy: _buy,
    Issue: _issue,
    Confirm: _confirm,
    Release: _release,
    Expire: _expire,
    Cancel: _cancel,
    Extend: _extend,
}
