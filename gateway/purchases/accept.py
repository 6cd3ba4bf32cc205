"""A purchase request, what accepting it gives, and the response. Pure."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from gateway.purchases.pace import retry_after_seconds
from gateway.purchases.request_body import LineInput
from gateway.purchases.stages import Stages
from shared.errors import (
    AllHeld,
    IdempotencyKeyReused,
    InvalidInput,
    NotEnoughTickets,
    NotYourEvent,
    OverUserLimit,
    Problem,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    TokenNotValid,
    TooManyExpiredHolds,
    retry_after,
)
from shared.purchases import QueuedPurchase, Short, purchase_of

# A pause has no known end. 10,000 buyers who wait for it then send 300 requests a second.
PAUSED_RETRY_SECONDS: Final = 30
# What is held comes back at once, if at all: so retries spread about that moment.
HELD_RETRY_JITTER: Final = 0.25

# Of refusals that a change of the request avoids: the field to change.
FIELDS: Final[Mapping[str, str]] = {
    "unknown_ticket_type": "ticket_type",
    "other_event": "ticket_type",
    "over_purchase_limit": "quantity",
}


class PurchaseRequest(msgspec.Struct, frozen=True, gc=False):
    """A well-formed request."""

    id: str
    user_id: int
    lines: tuple[LineInput, ...]
    idempotency_key: str | None
    fingerprint: bytes | None
    request_id: str
    # Of its span, where it is traced; the row carries it to the decision.
    traceparent: str | None = None
    as_items: bool = False
    buyer: str = ""
    # Where slow purchases are recorded.
    stages: Stages | None = None

    @property
    def span_attributes(self) -> dict[str, str]:
        ticket_types = ",".join(str(line.ticket_type) for line in self.lines)
        return {"eventify.purchase": self.id, "eventify.ticket_types": ticket_types}


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Durably stored, on these terms; `position` counts the requests ahead of it.

    Prices, one for each line, and time are texts already, as the body of a purchase has them.
    """

    event_id: int
    unit_prices: tuple[str, ...]
    currency: str
    created_at: str
    position: int


class Replayed(msgspec.Struct, frozen=True):
    """The same key and body made this purchase earlier."""

    purchase_id: str
    event_id: int


Verdict = Accepted | Replayed | Problem


class LineRefusal(msgspec.Struct, frozen=True):
    """Why the accept statement refused a line; `left`: what was left of its ticket type."""

    line: int
    code: str
    ticket_type_id: int
    quantity: int
    max_per_purchase: int | None
    sales_start: datetime | None
    left: int | None


class Holds(msgspec.Struct, frozen=True):
    """What is on hold, for a request that was refused.

    Args:
        would_fit: each line would fit if all of it came back.
        ends_in_seconds: until the event's next hold ends; None: there is none.
    """

    would_fit: bool = False
    ends_in_seconds: float | None = None


NO_HOLDS: Final = Holds()


def problem_of_request(code: str, retry_seconds: float | None = None) -> Problem:
    """The problem of a refusal that no line is the cause of."""
    match code:
        case "unknown_user":
            return TokenNotValid("The token's user does not exist.")
        case "not_your_event":
            return NotYourEvent()
        case "key_reused":
            return IdempotencyKeyReused()
        case "too_many_expired_holds":
            return TooManyExpiredHolds(
                headers={"Retry-After": str(retry_after(retry_seconds or 0))}
            )
        case "over_user_limit":
            return OverUserLimit("This buyer has made too many requests for this event.")
    raise AssertionError(f"the accept statement gave an unknown verdict: {code}")


def problem_of(
    refusals: Sequence[LineRefusal], now: datetime, *, as_items: bool, holds: Holds = NO_HOLDS
) -> Problem:
    """One problem for all refused lines; they are in the order of the request.

    What a change of the request avoids comes first, by field, named as it was sent.

    Args:
        now: by the database's clock, by which sales open.
    """
    errors = {
        f"items.{refusal.line}.{FIELDS[refusal.code]}" if as_items else FIELDS[refusal.code]: [
            _message(refusal)
        ]
        for refusal in refusals
        if refusal.code in FIELDS
    }
    if errors:
        return InvalidInput(errors=errors)
    codes = {refusal.code for refusal in refusals}
    if "sale_closed" in codes:
        return SaleClosed()
    if "sale_not_open" in codes:
        return SaleNotOpen(headers=_opens_in(refusals, now))
    if "sale_paused" in codes:
        seconds = retry_after_seconds(PAUSED_RETRY_SECONDS)
        return SalePaused(headers={"Retry-After": str(seconds)})
    if "not_enough_tickets" in codes and holds.would_fit:
        jitter = random.uniform(1 - HELD_RETRY_JITTER, 1 + HELD_RETRY_JITTER)  # noqa: S311 - jitter
        seconds = retry_after((holds.ends_in_seconds or 0) * jitter)
        return AllHeld(extra={"short": _short(refusals)}, headers={"Retry-After": str(seconds)})
    if "not_enough_tickets" in codes:
        return NotEnoughTickets(extra={"short": _short(refusals)})
    raise AssertionError(f"the accept statement gave unknown refusals: {codes}")


def _message(refusal: LineRefusal) -> str:
    match refusal.code:
        case "unknown_ticket_type":
            return f"There is no ticket type {refusal.ticket_type_id}."
        case "other_event":
            return "All ticket types of a purchase must belong to one event."
    return f"Must be at most {refusal.max_per_purchase}."


def _opens_in(refusals: Sequence[LineRefusal], now: datetime) -> dict[str, str]:
    """Until the last of the sales opens."""
    opens = max(
        refusal.sales_start
        for refusal in refusals
        if refusal.code == "sale_not_open" and refusal.sales_start is not None
    )
    return {"Retry-After": str(retry_after((opens - now).total_seconds()))}


def _short(refusals: Sequence[LineRefusal]) -> list[Short]:
    return [
        Short(refusal.ticket_type_id, refusal.quantity, refusal.left)
        for refusal in refusals
        if refusal.code == "not_enough_tickets" and refusal.left is not None
    ]


def queued_purchase(
    request: PurchaseRequest, accepted: Accepted, wait_seconds: float
) -> QueuedPurchase:
    """The body of the 202."""
    return purchase_of(
        QueuedPurchase,
        [
            (line.ticket_type, line.quantity, price)
            for line, price in zip(request.lines, accepted.unit_prices, strict=True)
        ],
        id=request.id,
        event=accepted.event_id,
        currency=accepted.currency,
        created_at=accepted.created_at,
        buyer=request.buyer,
        position=accepted.position,
        estimated_wait_seconds=wait_seconds,
    )
