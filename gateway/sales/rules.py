"""The rules of what everybody may read of a sale, as pure functions: when it is sold, and when that
changes.

A purchase is accepted by the same rules (`REFUSAL` in gateway/purchases/store.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec
from typing_extensions import TypeAliasType

SaleState = TypeAliasType(
    "SaleState", Literal["closed", "not_open", "paused", "on_sale", "all_held", "sold_out"]
)
# Of an event: that of its best ticket type.
BEST_FIRST: Final[Sequence[SaleState]] = (
    "on_sale",
    "all_held",
    "paused",
    "not_open",
    "sold_out",
    "closed",
)


class SaleTicketType(msgspec.Struct, frozen=True):
    """A ticket type as it is sold. `left`, `held`: tickets."""

    id: int
    name: str
    price: str
    sales_start: datetime | None
    sales_end: datetime | None
    max_per_purchase: int
    max_per_user: int | None
    hold_seconds: int | None
    paused: bool
    left: int
    held: int


class Sale(msgspec.Struct, frozen=True):
    """A published event with its ticket types. `show_left`: whether to say how many are left."""

    event: int
    title: str
    description: str
    start_time: datetime
    end_time: datetime
    currency: str
    max_per_user: int | None
    notice: str
    payment_url: str | None
    show_left: bool
    ticket_types: tuple[SaleTicketType, ...]


class EventState(NamedTuple):
    """`opens_at`: when the first of its ticket types opens, while none is on sale."""

    state: SaleState
    opens_at: datetime | None


def state_of(ticket_type: SaleTicketType, end_time: datetime, now: datetime) -> SaleState:
    """Args: the end of its event; the moment."""
    if min(ticket_type.sales_end or end_time, end_time) <= now:
        return "closed"
    if ticket_type.sales_start is not None and ticket_type.sales_start > now:
        return "not_open"
    if ticket_type.paused:
        return "paused"
    if ticket_type.left > 0:
        return "on_sale"
    return "all_held" if ticket_type.held > 0 else "sold_out"


def event_state(sale: Sale, now: datetime) -> EventState:
    """Without a ticket type it is closed."""
    states = [state_of(one, sale.end_time, now) for one in sale.ticket_types]
    state: SaleState = next((state for state in BEST_FIRST if state in states), "closed")
    if state != "not_open":
        return EventState(state, None)
    opening = [
        one.sales_start
        for one, its in zip(sale.ticket_types, states, strict=True)
        if its == "not_open" and one.sales_start is not None
    ]
    return EventState(state, min(opening))


def next_change(sale: Sale, now: datetime) -> datetime | None:
    """When a state changes by time alone; None: never again."""
    times = [sale.end_time]
    for one in sale.ticket_types:
        times += [time for time in (one.sales_start, one.sales_end) if time is not None]
    return min((time for time in times if time > now), default=None)
