"""A purchase request, what accepting it gives, and the response. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from gateway.purchases.pace import retry_after_seconds
from gateway.purchases.request_body import LineInput
from shared.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    NotAuthenticated,
    NotEnoughTickets,
    Problem,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    retry_after,
)
from shared.purchases import QueuedPurchase, Short, purchase, still_queued

# A pause has no known end. 10,000 buyers who wait for it then send 300 requests a second.
PAUSED_RETRY_SECONDS = 30


class PurchaseRequest(msgspec.Struct, frozen=True):
    """A well-formed request."""

    id: str
    user_id: int
    lines: tuple[LineInput, ...]
    idempotency_key: str | None
    fingerprint: bytes | None
    request_id: str
    # Of its span, where it is traced; the row carries it to the decision.
    traceparent: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """Durably stored, on these terms; `position` counts the requests ahead of it.

    `unit_prices`: of each line. Prices and time are texts already, as the body of a purchase has
    them.
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


class CheckedLine(msgspec.Struct, frozen=True):
    """A line as the accept statement checked it. `refusal`: why it is not accepted."""

    ticket_type: int
    quantity: int
    event: int | None
    refusal: str | None
    max_per_purchase: int | None
    sales_start: datetime | None
    left: int | None


Verdict = Accepted | Replayed | Problem


def problem_of(refusal: str) -> Problem | None:
    """The problem of a request, whatever its lines are; None: it is a refusal of a line."""
    match refusal:
        case "unknown_user":
            return NotAuthenticated("The token's user does not exist.", token_was_bad=True)
        case "key_reused":
            return IdempotencyKeyReused()
    return None


def problem_of_lines(lines: Sequence[CheckedLine]) -> Problem:
    """The problem of the lines: what is wrong in the request first, then what the sale says."""
    if errors := _errors(lines):
        return InvalidInput(errors=errors)
    refusals = {line.refusal for line in lines}
    if "sale_closed" in refusals:
        return SaleClosed()
    if "sale_not_open" in refusals:
        starts = (line.sales_start for line in lines if line.refusal == "sale_not_open")
        return SaleNotOpen(headers=_opens_in(max(start for start in starts if start is not None)))
    if "sale_paused" in refusals:
        seconds = retry_after_seconds(PAUSED_RETRY_SECONDS)
        return SalePaused(headers={"Retry-After": str(seconds)})
    short = [
        Short(line.ticket_type, line.quantity, line.left or 0)
        for line in lines
        if line.refusal == "not_enough_tickets"
    ]
    assert short, f"the accept statement gave an unknown refusal: {refusals}"
    return NotEnoughTickets(extra={"short": short})


def _errors(lines: Sequence[CheckedLine]) -> dict[str, list[str]]:
    """By field; a request of one line names it without its index."""
    errors = {}
    event = lines[0].event
    for nth, line in enumerate(lines):
        prefix = f"items.{nth}." if len(lines) > 1 else ""
        if line.refusal == "unknown_ticket_type":
            message = f'Invalid pk "{line.ticket_type}" - object does not exist.'
            errors[f"{prefix}ticket_type"] = [message]
        elif event is not None and line.event != event:
            message = f"It is of event {line.event}, the first item of event {event}."
            errors[f"{prefix}ticket_type"] = [message]
        if line.refusal == "over_purchase_limit":
            message = f"Ensure this value is less than or equal to {line.max_per_purchase}."
            errors[f"{prefix}quantity"] = [message]
    return errors


def _opens_in(sales_start: datetime) -> dict[str, str]:
    seconds = (sales_start - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(retry_after(seconds))}


def queued_purchase(
    request: PurchaseRequest, accepted: Accepted, wait_seconds: float
) -> QueuedPurchase:
    """The body of the 202."""
    body = purchase(
        [
            (line.ticket_type, line.quantity, price)
            for line, price in zip(request.lines, accepted.unit_prices, strict=True)
        ],
        id=request.id,
        event=accepted.event_id,
        currency=accepted.currency,
        created_at=accepted.created_at,
    )
    return still_queued(body, accepted.position, wait_seconds)
