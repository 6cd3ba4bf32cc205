"""A purchase request, what accepting it gives, and the response. Pure."""

from datetime import UTC, datetime

import msgspec

from gateway.purchases.pace import retry_after_seconds
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
from shared.purchases import QUEUED, QueuedPurchase

# A pause has no known end. 10,000 buyers who wait for it then send 300 requests a second.
PAUSED_RETRY_SECONDS = 30


class PurchaseRequest(msgspec.Struct, frozen=True):
    """A well-formed request."""

    id: str
    user_id: int
    ticket_type_id: int
    quantity: int
    idempotency_key: str | None
    fingerprint: bytes | None
    request_id: str
    # Of its span, where it is traced; the row carries it to the decision.
    traceparent: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """Durably stored, on these terms; `position` counts the requests ahead of it.

    Prices and time are texts already, as the body of a purchase has them.
    """

    event_id: int
    unit_price: str
    total_price: str
    created_at: str
    position: int


class Replayed(msgspec.Struct, frozen=True):
    """The same key and body made this purchase earlier."""

    purchase_id: str


Verdict = Accepted | Replayed | Problem


def problem_of(
    code: str, *, ticket_type_id: int, max_per_purchase: int | None, sales_start: datetime | None
) -> Problem:
    """The problem of a `refusal` of the accept statement."""
    match code:
        case "unknown_ticket_type":
            message = f'Invalid pk "{ticket_type_id}" - object does not exist.'
            return InvalidInput(errors={"ticket_type": [message]})
        case "unknown_user":
            return NotAuthenticated("The token's user does not exist.", token_was_bad=True)
        case "over_purchase_limit":
            message = f"Ensure this value is less than or equal to {max_per_purchase}."
            return InvalidInput(errors={"quantity": [message]})
        case "sale_not_open":
            return SaleNotOpen(headers=_opens_in(sales_start))
        case "sale_closed":
            return SaleClosed()
        case "sale_paused":
            seconds = retry_after_seconds(PAUSED_RETRY_SECONDS)
            return SalePaused(headers={"Retry-After": str(seconds)})
        case "not_enough_tickets":
            return NotEnoughTickets()
        case "key_reused":
            return IdempotencyKeyReused()
    raise AssertionError(f"the accept statement gave an unknown verdict: {code}")


def _opens_in(sales_start: datetime | None) -> dict[str, str]:
    assert sales_start is not None, "a sale that is not open yet has a start"
    seconds = (sales_start - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(retry_after(seconds))}


def queued_purchase(
    request: PurchaseRequest, accepted: Accepted, wait_seconds: float
) -> QueuedPurchase:
    """The body of the 202."""
    return QueuedPurchase(
        id=request.id,
        ticket_type=request.ticket_type_id,
        event=accepted.event_id,
        quantity=request.quantity,
        unit_price=accepted.unit_price,
        total_price=accepted.total_price,
        status=QUEUED,
        reason=None,
        created_at=accepted.created_at,
        decided_at=None,
        position=accepted.position,
        estimated_wait_seconds=wait_seconds,
    )
