"""The body of a page of a ledger, for its documentation."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.row_ids import MAX_ID

Kind = Literal[
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
]
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


class LedgerItem(BaseModel):
    """What an entry did to one ticket type."""

    ticket_type: int = Field(ge=1, le=MAX_ID)
    quantity: int = Field(ge=1, description="Tickets that the entry is about.")
    change: int = Field(description="By how much more, or less, were left.")
    left_after: int = Field(ge=0, description="How many were left then.")
    unit_price: str | None = Field(description="At acceptance; null where nothing is sold.")
    cancelled: int | None = Field(
        default=None, description="Of a cancellation: tickets of the line cancelled so far."
    )


class LedgerEntry(BaseModel):
    """One entry of a ledger: the answer to a command. It never changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [ENTRY]})

    number: int = Field(ge=1, description="Counts from 1 for each event, without a gap.")
    kind: Kind
    status: str | None = Field(description="Of the purchase, after this entry.")
    reason: str | None = Field(description="Why it was rejected or refused.")
    purchase: str | None = Field(description="The purchase that the entry is about.")
    user: int | None = Field(description="The account that bought.")
    buyer: str | None = Field(description="Whom it bought for, with a key.")
    command: str = Field(description="The id of the command that the entry answers.")
    batch: int = Field(ge=1, description="The first number of what was decided together.")
    at: str = Field(description="When it was decided.")
    items: list[LedgerItem]
    total_price: str | None = Field(description="Of its items.")
    currency: str | None
    payment_reference: str | None = Field(description="Of a payment that confirms a hold.")
    held_until: str | None = Field(default=None, description="Of a purchase that is held.")
    seconds: int | None = Field(default=None, description="By how much all holds were extended.")
    restock: bool | None = Field(default=None, description="Of a cancellation: back on sale.")
    note: str | None = Field(default=None, description="Of a cancellation.")


class LedgerPage(BaseModel):
    """Entries of a ledger in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "entries": [ENTRY],
                    "next": "https://shop.example/api/events/1/ledger/?after=2&epoch=5b0c7a91d3f8",
                    "epoch": "5b0c7a91d3f8",
                }
            ]
        }
    )

    entries: list[LedgerEntry]
    next: str = Field(description="The URL of the next page; at the end, of what is still to come.")
    epoch: str = Field(
        pattern=EPOCH_PATTERN, description="Of all numbers; a restored database has another one."
    )


def _schemas() -> dict[str, Any]:
    """As components of the document. FastAPI would leave the nulls of examples out."""
    page = LedgerPage.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**page.pop("$defs"), "LedgerPage": page}


SCHEMAS = _schemas()
