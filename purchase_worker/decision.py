"""The rule of a sale: what each command of an event's lane does. Pure; it reads nothing.

Commands are decided in the order of the lane: resolutions before purchases, and each of these two
classes in the order of acceptance. A purchase is confirmed whole or rejected whole; a later,
smaller one may still fit. Splitting the commands into batches anywhere changes no entry.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from shared.purchases import CONFIRMED, REJECTED

NOT_ENOUGH_TICKETS: Final = "not_enough_tickets"
OVER_USER_LIMIT: Final = "over_user_limit"
ISSUED: Final = "issued"
WITHDRAWN: Final = "withdrawn"
REFUSED: Final = "refused"


class Line(msgspec.Struct, frozen=True, gc=False):
    """Tickets of one type. `user_limit`: how many of them one user may have; None: no limit."""

    ticket_type_id: int
    quantity: int
    user_limit: int | None = None


class Buy(msgspec.Struct, frozen=True, gc=False):
    """A purchase request with its terms, which were frozen at acceptance.

    `event_limit`: tickets of all types of the event that one user may have; None: no limit.
    """

    id: str
    user_id: int
    lines: tuple[Line, ...]
    event_limit: int | None = None

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


Command = Buy | Issue


class Change(msgspec.Struct, frozen=True, gc=False):
    """What an entry did to one ticket type. `change`: of what is left."""

    ticket_type_id: int
    change: int
    left_after: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The one answer to a command. `number` counts from 1 for each event."""

    number: int
    command: Command
    kind: str
    reason: str | None
    changes: tuple[Change, ...]


# Tickets by user and ticket type.
Held = Mapping[int, Mapping[int, int]]


class State(msgspec.Struct, frozen=True):
    """An event between two entries.

    `number`: of its newest entry. `at`: of its newest batch; texts of times that compare as the
    times do. `left`: tickets by type. `held`: tickets that users have; at least of those users
    whose commands have a limit.
    """

    number: int
    at: str
    left: Mapping[int, int]
    held: Held = {}


def decide(state: State, at: str, commands: Iterable[Command]) -> tuple[list[Entry], State]:
    """Decide each command in order; returns the entries and the state after them.

    Args:
        state: of the event. A ticket type that `left` does not name has nothing left.
        at: when. Time never goes back: an earlier one counts as the state's.
        commands: in the order of the lane.
    """
    number = state.number
    left = dict(state.left)
    held = {user_id: dict(tickets) for user_id, tickets in state.held.items()}
    entries = []
    for command in commands:
        number += 1
        if isinstance(command, Buy):
            entry = _buy(number, command, left, held.setdefault(command.user_id, {}))
        else:
            entry = _issue(number, command, left)
        entries.append(entry)
    return entries, State(number, max(state.at, at), left, held)


def _buy(number: int, command: Buy, left: dict[int, int], has: dict[int, int]) -> Entry:
    """All lines or none; `left` and what the user `has` are changed."""
    reason = _why_rejected(command, left, has)
    changes = []
    for line in command.lines:
        ticket_type_id, change = line.ticket_type_id, 0
        remaining = left.get(ticket_type_id, 0)
        if reason is None:
            change = -line.quantity
            remaining += change
            left[ticket_type_id] = remaining
            has[ticket_type_id] = has.get(ticket_type_id, 0) + line.quantity
        changes.append(Change(ticket_type_id, change, remaining))
    return Entry(number, command, CONFIRMED if reason is None else REJECTED, reason, tuple(changes))


def _why_rejected(command: Buy, left: Mapping[int, int], has: Mapping[int, int]) -> str | None:
    for line in command.lines:
        if line.quantity > left.get(line.ticket_type_id, 0):
            return NOT_ENOUGH_TICKETS
    for line in command.lines:
        limit = line.user_limit
        if limit is not None and has.get(line.ticket_type_id, 0) + line.quantity > limit:
            return OVER_USER_LIMIT
    if command.event_limit is not None:
        wanted = sum(line.quantity for line in command.lines)
        if sum(has.values()) + wanted > command.event_limit:
            return OVER_USER_LIMIT
    return None


def _issue(number: int, command: Issue, left: dict[int, int]) -> Entry:
    """Refused if it withdraws more than is left; `left` is changed."""
    ticket_type_id, change = command.ticket_type_id, command.change
    remaining = left.get(ticket_type_id, 0) + change
    if remaining < 0:
        whole = Change(ticket_type_id, 0, remaining - change)
        return Entry(number, command, REFUSED, NOT_ENOUGH_TICKETS, (whole,))
    left[ticket_type_id] = remaining
    kind = ISSUED if change > 0 else WITHDRAWN
    return Entry(number, command, kind, None, (Change(ticket_type_id, change, remaining),))
