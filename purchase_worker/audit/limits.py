"""The limits of holders, held against what each bought and gave back. Pure."""

from collections.abc import Iterable

import msgspec

from purchase_worker.audit.findings import OUTCOMES, USER_LIMITS, Findings
from purchase_worker.audit.rows import LimitedLine
from purchase_worker.decision import Buy, Holder, Line, State, decide


class Bought(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A purchase that was held or confirmed (`taken`), or rejected for a limit of its holder.

    What came back later is a purchase of less than nothing, without limits.
    """

    number: int
    user_id: int
    buyer: str
    taken: bool
    event_limit: int | None
    lines: tuple[LimitedLine, ...]


def check_limits(bought: Iterable[Bought], found: Findings, event_id: int) -> None:
    """Limits: what was taken is within those of its holder, what was rejected for them is not.

    Args:
        bought: all that these holders bought of an event, in the order of its numbers. Earlier
            purchases count, whether they had a limit or not.
        found: gets the violations.
        event_id: named in them.
    """
    owned: dict[Holder, dict[int, int]] = {}
    for row in bought:
        holder = row.user_id, row.buyer
        has = owned.setdefault(holder, {})
        lines = tuple([Line(*line) for line in row.lines])
        command = Buy("", row.user_id, lines, row.event_limit, buyer=row.buyer)
        if command.has_limit or not row.taken:
            enough = {line.ticket_type_id: line.quantity for line in lines}
            state = State(row.number - 1, "", enough, owned={holder: has})
            (expected,), _after = decide(state, "", (command,))
            who = f"user {row.user_id}" + (f", buyer {row.buyer}" if row.buyer else "")
            if row.taken and expected.reason is not None:
                detail = f"entry {row.number} gives {who} more than a limit allows"
                found.add(USER_LIMITS, detail, event_id)
            elif not row.taken and expected.reason is None:
                detail = f"entry {row.number} was within the limits of {who}"
                found.add(OUTCOMES, detail, event_id)
        if row.taken:
            for line in lines:
                has[line.ticket_type_id] = has.get(line.ticket_type_id, 0) + line.quantity
