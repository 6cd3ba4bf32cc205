"""A purchase as clients read it, and its result on the way from workers to gateways."""

from typing import Final

import msgspec

QUEUED: Final = "queued"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"

# Redis: a key for each result, one channel for all waiting clients, a key for each pending wake-up.
RESULT_KEY_PREFIX: Final = "eventify:purchase:"
DECIDED_CHANNEL: Final = "eventify:decided"
WAKEUP_KEY_PREFIX: Final = "eventify:wake-up:"


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
    """`position`: requests ahead of it. `estimated_wait_seconds`: at the recent pace."""

    position: int
    estimated_wait_seconds: float


class DecidedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The message of a worker to the gateways after each batch's commit."""

    ids: list[str]
    # The number of each ticket type, and the batch's duration: the basis of estimated waits.
    decided: dict[int, int]
    seconds: float


def still_queued(purchase: Purchase, position: int, wait_seconds: float) -> QueuedPurchase:
    return QueuedPurchase(
        **msgspec.structs.asdict(purchase),
        position=position,
        estimated_wait_seconds=wait_seconds,
    )


def as_time(expression: str) -> str:
    """SQL that formats a time for clients: `2026-11-22T12:00:00.123456Z` (RFC 3339).

    Such texts all have one length, so the later one is the greater.
    """
    return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def pack_result(user_id: int, body: bytes) -> bytes:
    """A decided purchase's body after its owner's id: only the owner may read it."""
    return b"%d %b" % (user_id, body)


def unpack_result(value: bytes) -> tuple[int, bytes] | None:
    """The owner's id and the body; None if it is not a result of ours."""
    user_id, _, body = value.partition(b" ")
    return (int(user_id), body) if user_id.isdigit() and body else None
