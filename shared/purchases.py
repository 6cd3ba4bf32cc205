"""A purchase as clients read it, and its result as it travels from the worker to the gateways."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

QUEUED: Final = "queued"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"

# Redis: one key a result, one channel for all that wait, one key for a hint under way.
RESULT_KEY_PREFIX: Final = "eventify:purchase:"
DECIDED_CHANNEL: Final = "eventify:decided"
HINT_KEY_PREFIX: Final = "eventify:hint:"


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a purchase; times in RFC 3339 UTC, money as decimal strings."""

    id: str
    ticket_type: int
    event: int
    quantity: int
    unit_price: str
    total_price: str
    status: str
    reason: str | None
    created_at: str
    decided_at: str | None


class QueuedPurchase(Purchase, frozen=True, kw_only=True):
    """While it is queued, it says where it stands.

    `position`: requests ahead of it. `estimated_wait_seconds`: at the pace seen of late.
    """

    position: int
    estimated_wait_seconds: float


class DecidedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells the gateways after a commit: one message for each batch."""

    ticket_type: int
    # The purchases' ids, and how long the batch took: the pace that waiting clients are told.
    ids: list[str]
    seconds: float


def purchase_body(  # noqa: PLR0913 - a purchase has this many fields
    *,
    id: str,  # noqa: A002 - the contract's own name
    ticket_type: int,
    event: int,
    quantity: int,
    unit_price: Decimal,
    status: str,
    reason: str | None,
    created_at: datetime,
    decided_at: datetime | None,
) -> Purchase:
    """The body that clients read, from a row's values."""
    return Purchase(
        id=id,
        ticket_type=ticket_type,
        event=event,
        quantity=quantity,
        unit_price=f"{unit_price:.2f}",
        total_price=f"{unit_price * quantity:.2f}",
        status=status,
        reason=reason,
        created_at=rfc3339(created_at),
        decided_at=rfc3339(decided_at) if decided_at is not None else None,
    )


def still_queued(purchase: Purchase, position: int, wait_seconds: float) -> QueuedPurchase:
    """The purchase with where it stands in the queue."""
    return QueuedPurchase(
        **msgspec.structs.asdict(purchase),
        position=position,
        estimated_wait_seconds=wait_seconds,
    )


def rfc3339(moment: datetime) -> str:
    """`2026-11-22T12:00:00.123456Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def pack_result(user_id: int, body: bytes) -> bytes:
    """A decided purchase's body, with its owner before it: only the owner may read it."""
    return b"%d %b" % (user_id, body)


def unpack_result(value: bytes) -> tuple[int, bytes] | None:
    """The owner's id and the body; None for what is no result of ours."""
    user_id, _, body = value.partition(b" ")
    return (int(user_id), body) if user_id.isdigit() and body else None
