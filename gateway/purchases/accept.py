"""What a purchase request is, when it is refused at the door, and what it is answered. Pure."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

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
from shared.row_ids import MAX_ID
from shared.web.json_body import parse_json
from shared.web.unknown_names import unknown_names

MAX_INT4: Final = 2**31 - 1
LIMITS: Final = {"ticket_type": MAX_ID, "quantity": MAX_INT4}
# 1-255 printable ASCII characters, as a string of a structured field (RFC 8941, 3.3.3) or bare. A
# bare one has no quotes: `"a", "b"` are two keys that a proxy has put into one line.
IDEMPOTENCY_KEY = re.compile(
    r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x20-\x21\x23-\x7e]{1,255})'
)
ESCAPED = re.compile(r"\\(.)")
KEY_FORM = 'A string of 1 to 255 printable ASCII characters, in quotes; a " or \\ in it needs a \\.'

# Nobody knows how long a pause lasts. 10,000 buyers who wait for its end ask 300 times a second.
PAUSED_RETRY_SECONDS = 30

# In a rush all bodies are one of a few.
FINGERPRINTS_REMEMBERED = 1_000


class PurchaseInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request: integers, and nothing that merely looks like one."""

    ticket_type: int
    quantity: int


class PurchaseRequest(msgspec.Struct, frozen=True):
    """A request that is well-formed: what the store is asked to accept."""

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

# What msgspec raises: of another form, no JSON, no UTF-8, or nested more deeply than it goes.
NOT_A_PURCHASE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decoder = msgspec.json.Decoder(PurchaseInput)


def parse_body(body: bytes) -> PurchaseInput:
    """Read and check a request's body.

    Raises:
        MalformedBody: it is not JSON.
        InvalidInput: a field is missing, unknown, or not a positive integer; names each such field.
    """
    try:
        parsed = _decoder.decode(body)
    except NOT_A_PURCHASE:
        pass
    else:
        if 1 <= parsed.quantity <= MAX_INT4 and 1 <= parsed.ticket_type <= MAX_ID:
            return parsed
    return _parse_by_field(body)


def _parse_by_field(body: bytes) -> PurchaseInput:
    """Slower, and tells what is wrong. Of a name that stands twice the last value counts.

    The decoder above looks at each of them, so that it refuses a wrong one before the last.
    """
    fields = parse_json(body)
    if not isinstance(fields, dict):
        raise InvalidInput(errors={"body": ["A JSON object is expected."]})
    errors = unknown_names(fields, LIMITS, "field")
    for name, limit in LIMITS.items():
        if (message := _why_invalid_integer(fields, name, limit)) is not None:
            errors[name] = [message]
    if errors:
        raise InvalidInput(errors=errors)
    return PurchaseInput(fields["ticket_type"], fields["quantity"])


def _why_invalid_integer(fields: Mapping[str, Any], name: str, limit: int) -> str | None:
    if name not in fields:
        return "This field is required."
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return "A valid integer is required."
    if value < 1:
        return "Ensure this value is greater than or equal to 1."
    if value > limit:
        return f"Ensure this value is less than or equal to {limit}."
    return None


def parse_idempotency_key(header: str | None) -> str | None:
    """The key, without its quotes and escapes.

    Raises:
        InvalidInput: it is empty, too long, not printable ASCII, or no single string.
    """
    if header is None:
        return None
    match = IDEMPOTENCY_KEY.fullmatch(header)
    if match is None:
        raise InvalidInput(errors={"Idempotency-Key": [KEY_FORM]})
    return match[2] or ESCAPED.sub(r"\1", match[1])


@lru_cache(FINGERPRINTS_REMEMBERED)
def fingerprint(wanted: PurchaseInput) -> bytes:
    """What the body asked for; the same key with another fingerprint is a client's mistake."""
    return hashlib.blake2b(
        f"{wanted.ticket_type}:{wanted.quantity}".encode(), digest_size=16
    ).digest()


def refusal(
    code: str, *, ticket_type_id: int, max_per_purchase: int | None, sales_start: datetime | None
) -> Problem:
    """The problem that the accept statement's verdict stands for."""
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
            return SalePaused(headers=_look_again())
        case "not_enough_tickets":
            return NotEnoughTickets()
        case "key_reused":
            return IdempotencyKeyReused()
    raise AssertionError(f"the accept statement gave an unknown verdict: {code}")


def _opens_in(sales_start: datetime | None) -> dict[str, str]:
    assert sales_start is not None, "a sale that is not open yet has a start"
    seconds = (sales_start - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(retry_after(seconds))}


def _look_again() -> dict[str, str]:
    return {"Retry-After": str(retry_after_seconds(PAUSED_RETRY_SECONDS))}


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
