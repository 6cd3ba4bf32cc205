"""What the audit replays, as it is stored, or as an export has it."""

from typing import Final

import msgspec

from purchase_worker.decision import Change
from shared.purchases import StoredChange, StoredItem

BUY: Final = "buy"
# Of what the catalog decides by itself.
CAPACITY_CHANGES: Final = ("issue", "withdraw")
# Classes of the work list.
RESOLUTIONS: Final = 0
PURCHASES: Final = 1


# Kind, payment reference and lines of an entry about an earlier purchase.
Happened = tuple[str, str | None, tuple[StoredChange, ...]]


class Earlier(msgspec.Struct, frozen=True):
    """The purchase that a command is about, as the entries before its own left it.

    `number`, `kind` and `at` (seconds since 1970) are of its answer; None if it had none.
    `entries`: the later ones.
    """

    user_id: int
    buyer: str
    hold_seconds: int | None
    currency: str
    items: tuple[StoredItem, ...]
    number: int | None
    kind: str | None
    at: float | None
    entries: tuple[Happened, ...]


class Terms(msgspec.Struct, frozen=True):
    """What only requests with a hold, of a key's buyer, or about an earlier purchase have.

    `purchase_id`: whom the request is about. `changed`: the purchase that the entry names.
    `paid_too`: another purchase that the same payment confirmed.
    """

    buyer: str = ""
    hold_seconds: int | None = None
    purchase_id: str | None = None
    changed: str | None = None
    payment_reference: str | None = None
    amount: str | None = None
    currency: str | None = None
    restock: bool | None = None
    purchase: Earlier | None = None
    paid_too: str | None = None


NO_TERMS: Final = Terms()
_stored_items = msgspec.json.Decoder(tuple[StoredItem, ...])
_stored_changes = msgspec.json.Decoder(tuple[StoredChange, ...])
_stored_terms = msgspec.json.Decoder(Terms)

# Ticket type, quantity, limit of its holder.
LimitedLine = tuple[int, int, int | None]


class EntryRow(msgspec.Struct, frozen=True, gc=False):
    """An entry with its request, as stored; `seq` is None where that is missing.

    Those of several lines have them in `items` and `asked_items`; `stored_terms` are `Terms`.
    `accepted_at`: seconds since 1970.
    """

    number: int
    kind: str
    reason: str | None
    ticket_type_id: int | None
    change: int
    left_after: int
    items: str | None
    id: str
    seq: int | None
    accepted_xid: int
    accepted_at: float
    asked: str
    user_id: int
    asked_ticket_type_id: int | None
    quantity: int
    user_limit: int | None
    event_limit: int | None
    asked_items: str | None
    stored_terms: str | None = None

    @property
    def outcome(self) -> str:
        return self.kind if self.reason is None else f"{self.kind} ({self.reason})"

    def lines(self) -> tuple[LimitedLine, ...]:
        """What a purchase asked for.

        Raises:
            msgspec.DecodeError: it cannot be read.
        """
        if self.asked_items is None:
            return ((self.asked_ticket_type_id or 0, self.quantity, self.user_limit),)
        return tuple(
            (item.ticket_type, item.quantity, item.user_limit)
            for item in _stored_items.decode(self.asked_items)
        )

    def changes(self) -> tuple[Change, ...]:
        """What the entry says; raises as `lines` does."""
        if self.items is None:
            return (Change(self.ticket_type_id or 0, self.change, self.left_after),)
        return tuple(
            Change(item.ticket_type, item.change, item.left_after, item.quantity, item.cancelled)
            for item in _stored_changes.decode(self.items)
        )

    def terms(self) -> Terms:
        """Raises as `lines` does."""
        return NO_TERMS if self.stored_terms is None else _stored_terms.decode(self.stored_terms)


class WaitingRow(msgspec.Struct, frozen=True):
    """A row of the work list; `accepted_xid` is None where its request is missing.

    `right`: class and sequence number are the request's. `answered`: by this entry.
    """

    id: str
    class_: int
    seq: int
    right: bool
    answered: int | None
    accepted_xid: int | None
    queued_seconds: float


class CounterRow(msgspec.Struct, frozen=True):
    """A ticket type's counter; `issued` is None where that is missing."""

    ticket_type_id: int
    exists: bool
    issued: int | None
    held: int | None
    sold: int | None


class LaneRow(msgspec.Struct, frozen=True):
    """A lane; no purchase up to `done_seq` is looked for in the work list."""

    number: int
    at: float
    done_seq: int = 0
    extended_seconds: int = 0


class HoldRow(msgspec.Struct, frozen=True):
    """An open hold. `number`, `kind`: of the purchase's answer. `ended`: by this entry.

    `moved_seconds`: by how much it ends later than its `hold_seconds` after that answer.
    """

    id: str
    number: int | None
    kind: str | None
    ended: int | None
    moved_seconds: float | None
