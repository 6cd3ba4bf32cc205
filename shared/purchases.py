"""A purchase as clients read it, and its result as it travels from the worker to the gateways."""

from typing import Final

import msgspec

QUEUED: Final = "queued"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"

# Redis: one key a result, one channel for all that wait, one key for a wake-up under way.
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
    """While it is queued, it says where it stands.

    `position`: requests ahead of it. `estimated_wait_seconds`: at the pace seen of late.
    """

    position: int
    estimated_wait_seconds: float


class DecidedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells the gateways after a commit: one message for each batch."""

    ids: list[str]
    # How many of each ticket type, and how long the batch took: the pace that waiting clients are
    # told.
    decided: dict[int, int]
    seconds: float


def still_queued(purchase: Purchase, position: int, wait_seconds: float) -> QueuedPurchase:
    """The purchase with where it stands in the queue."""
    return QueuedPurchase(
        **msgspec.structs.asdict(purchase),
        position=position,
        estimated_wait_seconds=wait_seconds,
    )


def as_time(expression: str) -> str:
    """SQL that gives a time as clients read it: `2026-11-22T12:00:00.123456Z` (RFC 3339).

    Such texts all have one length, so the later one is the greater.
    """
    return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def pack_result(user_id: int, body: bytes) -> bytes:
    """A decided purchase's body, with its owner before it: only the owner may read it."""
    return b"%d %b" % (user_id, body)


def unpack_result(value: bytes) -> tuple[int, bytes] | None:
    """The owner's id and the body; None for what is no result of ours."""
    user_id, _, body = value.partition(b" ")
    return (int(user_id), body) if user_id.isdigit() and body else None
