"""The body of a page of a ledger, for its documentation."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from gateway.purchases.openapi import PurchaseStatus
from shared.row_ids import MAX_ID
from shared.web.openapi import schemas_of, with_example

LedgerEntryKind = TypeAliasType(
    "LedgerEntryKind",
    Literal[
        "issued",
        "withdrawn",
        "confirmed",
        "held",
        "rejected",
        "released",
        "expired",
        "cancelled",
        "extended",
        "drawn",
        "refused",
    ],
)
EPOCH_PATTERN = "^[0-9a-f]{12}$"
PURCHASE = "01a203bc-a0e0-7261-b7d6-4031de569d41"
ENTRY: dict[str, Any] = {
    "number": 2,
    "kind": "confirmed",
    "status": "confirmed",
    "reason": None,
    "purchase": PURCHASE,
    "user": 2,
    "buyer": None,
    "command": PURCHASE,
    "batch": 2,
    "at": "2026-11-22T14:50:23.358202Z",
    "items": [
        {"ticket_type": 1, "quantity": 2, "change": -2, "left_after": 8, "unit_price": "100.00"}
    ],
    "total_price": "200.00",
    "currency": "EUR",
    "payment_reference": None,
}


def left_out() -> Any:
    """The default of a field that is there only where it applies."""
    raise NotImplementedError


class LedgerItem(BaseModel):
    """The effect of an entry on one ticket type."""

    ticket_type: int = Field(ge=1, le=MAX_ID)
    quantity: int = Field(ge=1, description="The number of tickets affected.")
    change: int = Field(description="The change in available tickets.")
    left_after: int = Field(ge=0, description="The number available afterwards.")
    unit_price: str | None = Field(description="At acceptance; null if nothing is sold.")
    cancelled: int = Field(
        default_factory=left_out,
        description="Of a cancellation: tickets of the line that are cancelled so far.",
    )


class LedgerEntry(BaseModel):
    """One entry of a ledger: the answer to a command. It never changes."""

    model_config = with_example(ENTRY)

    number: int = Field(ge=1, description="Counts from 1 for each event, without a gap.")
    kind: LedgerEntryKind
    status: PurchaseStatus | None = Field(description="Of the purchase, after this entry.")
    reason: str | None = Field(description="Why it was rejected or refused.")
    purchase: UUID | None = Field(description="The id of the purchase.")
    user: int | None = Field(ge=1, le=MAX_ID, description="The account that bought.")
    buyer: str | None = Field(description="The customer that it bought for, with an API key.")
    command: UUID = Field(description="The id of the command that the entry answers.")
    batch: int = Field(
        ge=1, description="The number of the first entry that was decided in the same transaction."
    )
    at: datetime = Field(description="The time of the decision.")
    items: list[LedgerItem]
    total_price: str | None = Field(
        description="The total of `items`; of a cancellation, the amount to refund."
    )
    currency: str | None
    payment_reference: str | None = Field(description="Of a payment that confirms a hold.")
    held_until: datetime = Field(default_factory=left_out, description="Of one that is held.")
    seconds: int = Field(
        default_factory=left_out, description="By how many seconds all holds were extended."
    )
    restock: bool = Field(
        default_factory=left_out,
        description="Of a cancellation: whether its tickets are on sale again.",
    )
    note: str = Field(default_factory=left_out, description="Of a cancellation.")


class LedgerPage(BaseModel):
    """Entries of a ledger, by number."""

    model_config = with_example(
        {
            "entries": [ENTRY],
            "next": "https://shop.example/api/events/1/ledger/?after=2&epoch=5b0c7a91d3f8",
            "epoch": "5b0c7a91d3f8",
        }
    )

    entries: list[LedgerEntry]
    next: str = Field(description="The URL of the next page; at the end, of the entries to come.")
    epoch: str = Field(
        pattern=EPOCH_PATTERN,
        description="The epoch of all numbers; it changes when the database is restored.",
    )


SCHEMAS = schemas_of(LedgerPage)
