"""Whether a command about a purchase or an event is accepted, and its answer. Pure.

The lane decides; here is refused what it would refuse for certain.
"""

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from shared.errors import (
    AlreadyCancelled,
    AlreadyConfirmed,
    Conflict,
    ExtensionLimit,
    HoldExpired,
    HoldReleased,
    IdempotencyKeyReused,
    InvalidInput,
    NotConfirmed,
    NotDecided,
    NotFound,
    NotHeld,
    PaymentReferenceUsed,
    PermissionDenied,
    Problem,
    TooManyCancellations,
)
from shared.purchases import (
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    QUEUED,
    RELEASED,
    HeldPurchase,
    Item,
    Purchase,
    ResolvedPurchase,
    StoredLine,
)

Kind = Literal["confirm", "release", "cancel", "extend"]

PROBLEM_OF_REASON: Final[Mapping[str | None, type[Problem]]] = {
    problem.code: problem
    for problem in (
        AlreadyCancelled,
        AlreadyConfirmed,
        ExtensionLimit,
        HoldExpired,
        HoldReleased,
        NotConfirmed,
        NotHeld,
    )
}
# Each cancellation of a purchase reads the items of all earlier ones: when it is looked up, in the
# lane's guard, in the audit. From so many on only all the rest can be cancelled.
# Those that are queued at that moment are not counted and may come on top: no index finds them, and
# they are decided in milliseconds.
CANCELLED_ITEMS_MAX: Final = 1_000
# Each confirmation reads the refused ones with its payment reference, in search of one that was not
# refused. From so many on the reference confirms nothing more, whatever the search did not reach.
REFUSALS_MAX: Final = 100
# Of a purchase that nobody decided yet: it takes milliseconds, and in a rush seconds.
NOT_DECIDED_RETRY_SECONDS: Final = 1


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed command. `purchase_id` or `event_id`: what it is about.

    `amount`: a decimal. `lines`: of a cancellation; None: all that are left.
    """

    id: str
    kind: Kind
    user_id: int
    request_id: str
    purchase_id: str | None = None
    event_id: int | None = None
    payment_reference: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    lines: tuple[StoredLine, ...] | None = None
    restock: bool | None = None
    note: str | None = None
    seconds: int | None = None
    idempotency_key: str | None = None
    # Of its span, where it is traced; the row carries it to the decision.
    traceparent: str | None = None

    @property
    def span_attributes(self) -> dict[str, str]:
        about = {"purchase": self.purchase_id, "event": self.event_id}
        return {f"eventify.{name}": str(id_) for name, id_ in about.items() if id_ is not None}

    @property
    def fingerprint(self) -> bytes | None:
        """Of all that its path and body say. None without a key."""
        if self.idempotency_key is None:
            return None
        said = (
            *(self.kind, self.purchase_id, self.event_id, self.payment_reference),
            *(str(self.amount), self.currency, self.lines, self.restock, self.note, self.seconds),
        )
        return hashlib.blake2b(msgspec.json.encode(said), digest_size=16).digest()


class Known(msgspec.Struct, frozen=True):
    """A command that was accepted before. `purchase_id`: None of an extension or a purchase."""

    id: str
    event_id: int
    purchase_id: str | None = None
    fingerprint: bytes | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What there is when a command comes.

    Args:
        event_id: None: there is no such event or purchase.
        buyer_id: of the purchase.
        earlier: with the same key.
        key_is_taken: by a request that is no command, and by no command.
        same_payment: a confirmation with the same reference that was not refused; or, of
            `REFUSALS_MAX`, the last one that was read, even if it was refused.
        releasing_id: a release, whoever asked for it.
        cancelled_items: of all cancellations of the purchase that were decided; counted for a
            cancellation alone.
    """

    event_id: int | None = None
    owner_id: int | None = None
    buyer_id: int | None = None
    purchase: Purchase | None = None
    earlier: Known | None = None
    key_is_taken: bool = False
    same_payment: Known | None = None
    releasing_id: str | None = None
    cancelled_items: int = 0


class Accept(msgspec.Struct, frozen=True):
    """To be stored. `lines`: of a cancellation. `hold`: that it ends, unless it is refused."""

    event_id: int
    lines: Sequence[StoredLine] | None = None
    hold: HeldPurchase | None = None


class Accepted(msgspec.Struct, frozen=True):
    """Stored. `replayed`: earlier, with the same key. `hold`: of one that was stored now."""

    id: str
    event_id: int
    replayed: bool = False
    hold: HeldPurchase | None = None


class NothingToDo(msgspec.Struct, frozen=True):
    """The purchase is already as the command wants it."""


def judge(command: Command, standing: Standing) -> Accept | Accepted | NothingToDo | Problem:
    """An earlier command with the same key outranks every refusal."""
    earlier = standing.earlier
    if standing.key_is_taken or (earlier and earlier.fingerprint != command.fingerprint):
        return IdempotencyKeyReused()
    if earlier is not None:
        return Accepted(earlier.id, earlier.event_id, replayed=True)
    if standing.event_id is None:
        return NotFound()
    if (forbidden := _forbidden(command, standing)) is not None:
        return forbidden
    if command.kind == "extend" or standing.purchase is None:
        return Accept(standing.event_id)
    match command.kind:
        case "confirm":
            return _confirm(command, standing, standing.event_id, standing.purchase)
        case "release":
            return _release(standing, standing.event_id, standing.purchase)
        case "cancel":
            return _cancel(command, standing, standing.event_id, standing.purchase)


def _forbidden(command: Command, standing: Standing) -> Problem | None:
    """The event's owner may do all, a buyer may release; to others there is no such purchase."""
    if command.user_id == standing.owner_id:
        return None
    if command.kind == "extend":
        return PermissionDenied()
    if command.user_id != standing.buyer_id:
        return NotFound()
    return None if command.kind == "release" else PermissionDenied()


def _confirm(
    command: Command, standing: Standing, event_id: int, purchase: Purchase
) -> Accept | Accepted | NothingToDo | Problem:
    errors = {}
    if command.amount != Decimal(purchase.total_price):
        errors["amount"] = [f"The purchase's total_price is {purchase.total_price}."]
    if command.currency != purchase.currency:
        errors["currency"] = [f"The purchase's currency is {purchase.currency}."]
    if errors:
        return InvalidInput(errors=errors)
    if not isinstance(purchase, HeldPurchase):
        if is_paid_by(purchase, command.payment_reference):
            return NothingToDo()
        return _why_not_held(purchase)
    same = standing.same_payment
    if same is None:
        return Accept(event_id, hold=purchase)
    if same.purchase_id != purchase.id:
        return PaymentReferenceUsed()
    return Accepted(same.id, event_id)


def _release(
    standing: Standing, event_id: int, purchase: Purchase
) -> Accept | Accepted | NothingToDo | Problem:
    if isinstance(purchase, HeldPurchase):
        waiting = standing.releasing_id
        return Accept(event_id, hold=purchase) if waiting is None else Accepted(waiting, event_id)
    return NothingToDo() if purchase.status == RELEASED else _why_not_held(purchase)


def _cancel(
    command: Command, standing: Standing, event_id: int, purchase: Purchase
) -> Accept | Problem:
    if purchase.status == QUEUED:
        return _not_decided()
    if purchase.status not in (CONFIRMED, CANCELLED):
        return NotConfirmed()
    left = {item.ticket_type: item.quantity - _cancelled(item) for item in purchase.items}
    if command.lines is None:
        lines = [StoredLine(id_, quantity) for id_, quantity in left.items() if quantity]
    else:
        lines = list(command.lines)
    errors = {
        f"items.{nth}.ticket_type": ["The purchase has no tickets of this type."]
        for nth, line in enumerate(lines)
        if line.ticket_type not in left
    }
    if errors:
        return InvalidInput(errors=errors)
    if not lines or any(line.quantity > left[line.ticket_type] for line in lines):
        return AlreadyCancelled()
    if standing.cancelled_items >= CANCELLED_ITEMS_MAX:
        rest = {id_: quantity for id_, quantity in left.items() if quantity}
        if {line.ticket_type: line.quantity for line in lines} != rest:
            return TooManyCancellations()
    return Accept(event_id, lines)


def _cancelled(item: Item) -> int:
    return 0 if isinstance(item.cancelled_quantity, msgspec.UnsetType) else item.cancelled_quantity


def _why_not_held(purchase: Purchase) -> Problem:
    if purchase.status == QUEUED:
        return _not_decided()
    if purchase.status == EXPIRED:
        return HoldExpired()
    if purchase.status == RELEASED:
        return HoldReleased()
    if isinstance(purchase, ResolvedPurchase) and purchase.payment_reference is not None:
        return AlreadyConfirmed()
    return NotHeld()


def _not_decided() -> Conflict:
    return NotDecided(headers={"Retry-After": str(NOT_DECIDED_RETRY_SECONDS)})


def is_paid_by(purchase: Purchase, payment_reference: str | None) -> bool:
    return (
        isinstance(purchase, ResolvedPurchase)
        and payment_reference is not None
        and purchase.payment_reference == payment_reference
    )


def problem_of_refusal(
    kind: str, reason: str, purchase: Purchase | None, payment_reference: str | None
) -> Problem | None:
    """The answer to a command that the lane refused; None: another did the same before it."""
    if kind == "release" and reason == HoldReleased.code:
        return None
    if kind == "confirm" and purchase is not None and is_paid_by(purchase, payment_reference):
        return None
    return PROBLEM_OF_REASON[reason]()
