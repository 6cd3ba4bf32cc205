"""A purchase as clients read it, and its result on the way from workers to gateways."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec

QUEUED: Final = "queued"
HELD: Final = "held"
CONFIRMED: Final = "confirmed"
RELEASED: Final = "released"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"
REJECTED: Final = "rejected"

# Redis: a key for each result, one channel for all waiting clients, a key for each pending wake-up.
RESULT_KEY_PREFIX: Final = "eventify:purchase:"
DECIDED_CHANNEL: Final = "eventify:decided"
WAKEUP_KEY_PREFIX: Final = "eventify:wake-up:"
# A worker clears the mark of a wake-up; if it does not, the next is sent after this time.
WAKEUP_TTL_MS: Final = 1_000


class Item(msgspec.Struct, frozen=True, gc=False):
    """A line of a purchase. `cancelled_quantity`: of a resolved one."""

    ticket_type: int
    quantity: int
    unit_price: str
    total_price: str
    cancelled_quantity: int | msgspec.UnsetType = msgspec.UNSET


class StoredItem(msgspec.Struct, frozen=True, gc=False):
    """A line of a cart in `requests.items`, with its terms."""

    ticket_type: int
    quantity: int
    unit_price: str
    user_limit: int | None


class StoredLine(msgspec.Struct, frozen=True, gc=False):
    """A line in `requests.items`: of a cancellation, or of a cart without its terms."""

    ticket_type: int
    quantity: int


class StoredChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A line in `ledger.items`: of a cart, or of an earlier purchase, which has a quantity too."""

    ticket_type: int
    change: int
    left_after: int
    quantity: int | None = None
    cancelled: int | None = None


class Short(msgspec.Struct, frozen=True, gc=False):
    """A line that was rejected, and what was left of its ticket type."""

    ticket_type: int
    quantity: int
    left: int


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a purchase; times in RFC 3339 UTC, money as decimal strings.

    `ticket_type`, `quantity` and `unit_price` are those of its one line; None if it has several.
    """

    id: str
    ticket_type: int | None
    event: int
    quantity: int | None
    unit_price: str | None
    total_price: str
    status: str
    reason: str | None
    created_at: str
    decided_at: str | None
    items: Sequence[Item]
    currency: str
    # Which lines there were not enough tickets for; None unless that is the reason.
    short: Sequence[Short] | None = None
    # Whom the account bought for; left out where it bought for itself.
    buyer: str | msgspec.UnsetType = msgspec.UNSET


Kind = TypeVar("Kind", bound=Purchase)


class QueuedPurchase(Purchase, frozen=True, kw_only=True):
    """`position`: requests ahead of it. `estimated_wait_seconds`: at the recent pace."""

    position: int
    estimated_wait_seconds: float


class HeldPurchase(Purchase, frozen=True, kw_only=True):
    """`seconds_left`: until `held_until` when it was read, for clients whose clocks are wrong."""

    held_until: str
    seconds_left: int


class ResolvedPurchase(Purchase, frozen=True, kw_only=True):
    """A purchase that was held or cancelled; `resolved_at`: when it last changed."""

    payment_reference: str | None
    resolved_at: str
    cancelled_quantity: int


class DecidedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The message to gateways and senders after each commit of a worker's batch, and of the
    catalog's changes.

    `events`: those whose ledger has new entries.
    """

    ids: list[str]
    events: list[int] = []
    # How many of each event, and the batch's duration: the basis of estimated waits.
    decided: dict[int, int]
    seconds: float
    # Parts of `seconds`: until the lanes were locked, and for the commit; and when it was done,
    # in seconds since 1970. 0: unknown.
    lock_seconds: float = 0.0
    commit_seconds: float = 0.0
    committed_at: float = 0.0
    # What each confirmation or release that was not refused made of its purchase, and when.
    resolved: dict[str, str] = {}
    at: str = ""
    # When, of those of another event whose time is not `at`.
    resolved_at: dict[str, str] = {}
    # Of a small batch the packed results of purchases that are not held: who waits for one needs
    # not read it. And the number of the Redis database in which they are: a message reaches who
    # listens in any, and there may be a copy of this installation, with purchases of the same ids.
    results: dict[str, bytes] = {}
    database: int = 0


def purchase_of(  # noqa: PLR0913 - as many as the body has
    kind: Callable[..., Kind],
    lines: Sequence[tuple[int, int, str]],
    *,
    id: str,  # noqa: A002 - as the body names it
    event: int,
    currency: str,
    created_at: str,
    status: str = QUEUED,
    reason: str | None = None,
    decided_at: str | None = None,
    short: Sequence[Short] | None = None,
    buyer: str = "",
    **of_kind: Any,
) -> Kind:
    """A purchase from its lines: ticket type, quantity and unit price of each.

    `of_kind`: the fields that only this kind has.
    """
    items = [Item(*line, total_price(line[2], line[1])) for line in lines]
    is_cart = len(items) > 1
    first = items[0]
    return kind(
        id=id,
        ticket_type=None if is_cart else first.ticket_type,
        event=event,
        quantity=None if is_cart else first.quantity,
        unit_price=None if is_cart else first.unit_price,
        total_price=str(sum(Decimal(i.total_price) for i in items))
        if is_cart
        else first.total_price,
        status=status,
        reason=reason,
        created_at=created_at,
        decided_at=decided_at,
        items=items,
        currency=currency,
        short=short,
        buyer=buyer or msgspec.UNSET,
        **of_kind,
    )


purchase = partial(purchase_of, Purchase)


@lru_cache(maxsize=1_024)
def total_price(unit_price: str, quantity: int) -> str:
    return str(Decimal(unit_price) * quantity)


def still_queued(purchase: Purchase, position: int, wait_seconds: float) -> QueuedPurchase:
    return QueuedPurchase(
        **msgspec.structs.asdict(purchase),
        position=position,
        estimated_wait_seconds=wait_seconds,
    )


# Such texts all have one length, so the later one is the greater.
TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def held(purchase: Purchase, held_until: str, seconds_left: int) -> HeldPurchase:
    return HeldPurchase(
        **msgspec.structs.asdict(purchase), held_until=held_until, seconds_left=seconds_left
    )


def ended(hold: HeldPurchase, status: str, at: str, payment_reference: str | None) -> Purchase:
    """What a hold became: paid, or released."""
    purchase = {name: getattr(hold, name) for name in Purchase.__struct_fields__}
    return resolved(Purchase(**purchase | {"status": status}), at, payment_reference, {})


def resolved(
    purchase: Purchase,
    resolved_at: str,
    payment_reference: str | None,
    cancelled: Mapping[int, int],
) -> ResolvedPurchase:
    """`cancelled`: the tickets of each ticket type that were."""
    items = [
        msgspec.structs.replace(item, cancelled_quantity=cancelled.get(item.ticket_type, 0))
        for item in purchase.items
    ]
    return ResolvedPurchase(
        **(msgspec.structs.asdict(purchase) | {"items": items}),
        payment_reference=payment_reference,
        resolved_at=resolved_at,
        cancelled_quantity=sum(cancelled.values()),
    )


# Of every hold, and of the index of holds in the order of their ends, which is not used without it.
HAS_END = "ends_at > '-infinity'"


def as_time(expression: str) -> str:
    """SQL that formats a time for clients: `2026-11-22T12:00:00.123456Z` (RFC 3339)."""
    return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


@lru_cache(maxsize=1_024)
def rfc3339(timestamptz: str) -> str:
    """The same from PostgreSQL's own text in a session in UTC, such as `2026-11-22 12:00:00.5+00`.

    Formatting in SQL takes longer, and requests that were accepted together have one time.
    """
    moment = datetime.fromisoformat(timestamptz).astimezone(UTC)
    return moment.strftime(TIME_FORMAT)


def pack_result(user_id: int, body: bytes) -> bytes:
    """A decided purchase's body after its owner's id: only the owner may read it."""
    return b"%d %b" % (user_id, body)


def unpack_result(value: bytes) -> tuple[int, bytes] | None:
    """The owner's id and the body; None if it is not a result of ours."""
    user_id, _, body = value.partition(b" ")
    return (int(user_id), body) if user_id.isdigit() and body else None
