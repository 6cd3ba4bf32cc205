"""The rule of a sale: which requests get tickets. Pure; it reads nothing and writes nothing.

Requests are decided in the order of their acceptance. A request that does not fit is rejected
whole and at once; a later, smaller one may still fit. Splitting the requests into batches
anywhere changes no decision.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

NOT_ENOUGH_TICKETS: Final = "not_enough_tickets"
OVER_USER_LIMIT: Final = "over_user_limit"


class Request(msgspec.Struct, frozen=True):
    """A purchase request with its terms, which were frozen at acceptance."""

    id: str
    user_id: int
    quantity: int
    user_limit: int | None  # tickets of this type that one user may hold; None: no limit


class Inventory(msgspec.Struct, frozen=True):
    """The state of a ticket type between two decisions."""

    left: int
    decisions: int


class Decision(msgspec.Struct, frozen=True):
    """`reason` None means confirmed; `number` counts from 1 for each ticket type."""

    request: Request
    number: int
    reason: str | None
    left_after: int


class BatchDecisions(msgspec.Struct, frozen=True):
    """Decisions in order, and the state of the ticket type after them."""

    decisions: list[Decision]
    inventory: Inventory
    held: Mapping[int, int]


def decide(
    inventory: Inventory, held: Mapping[int, int], requests: Iterable[Request]
) -> BatchDecisions:
    """Decide each request in order.

    Args:
        inventory: what is left to sell, and how many decisions were made so far.
        held: tickets of this type that each user holds already; at least of those with a limit.
        requests: in the order of acceptance.
    """
    left = inventory.left
    number = inventory.decisions
    held = dict(held)
    decisions = []
    for request in requests:
        number += 1
        has = held.get(request.user_id, 0)
        if request.quantity > left:
            reason = NOT_ENOUGH_TICKETS
        elif request.user_limit is not None and has + request.quantity > request.user_limit:
            reason = OVER_USER_LIMIT
        else:
            reason = None
            left -= request.quantity
            held[request.user_id] = has + request.quantity
        decisions.append(Decision(request, number, reason, left))
    return BatchDecisions(decisions, Inventory(left, number), held)
