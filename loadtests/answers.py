"""What an answer of the gateway means to a buyer: docs/api.md, as rules. Pure."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

DECIDED_STATUSES = ("confirmed", "held", "rejected", "released", "expired", "cancelled")
# Of a 400 without a purchase, and of a 409 to a confirmation or release.
NOTHING_LEFT = ("not_enough_tickets", "all_held")
HOLD_OVER = ("hold_expired", "hold_released")
# Of a 400 without a purchase, with Retry-After.
NOT_ON_SALE_NOW = ("sale_not_open", "sale_paused")


class Meaning(StrEnum):
    QUEUED = "queued"  # stored, and will be decided
    DECIDED = "decided"  # the outcome, with the purchase's id
    SOLD_OUT = "sold out"  # or all held; answered at the edge: nothing was stored
    HOLD_OVER = "hold over"  # the payment comes too late: it is given back
    RETRY_LATER = "retry later"  # with Retry-After: 429, 503, or a sale paused or not yet open
    FINE = "fine"  # read as asked for
    FAILED = "failed"


class Line(msgspec.Struct, frozen=True):
    """Tickets of one type."""

    ticket_type: int
    quantity: int


class AnswerBody(msgspec.Struct):
    """The fields of a purchase, a ticket type or a problem that a buyer reads."""

    id: str | int | None = None
    # A problem's status is its number in HTTP.
    status: str | int | None = None
    code: str | None = None
    reason: str | None = None
    ticket_type: int | None = None
    quantity: int | None = None
    items: list[Line] | None = None
    total_price: str | None = None
    currency: str | None = None
    decided_at: str | None = None
    payment_reference: str | None = None


_decoder = msgspec.json.Decoder(AnswerBody)


class ClientResponse(msgspec.Struct, frozen=True):
    """One answer; `status` is 0 where there was none. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def retry_after_seconds(self) -> float | None:
        """None if the answer does not give it in seconds."""
        retry_after = self.headers.get("retry-after", "")
        return float(retry_after) if retry_after.isdecimal() else None

    @property
    def meaning(self) -> Meaning:
        match self.status:
            case 202:
                return Meaning.QUEUED
            case 200 | 201:
                return _meaning_of_content(self.read())
            case 304:
                return Meaning.FINE
            case 400:
                return _meaning_of_problem(self.read(), self.retry_after_seconds)
            case 409 if (body := self.read()) is not None and body.code in HOLD_OVER:
                return Meaning.HOLD_OVER
            case 429 | 503 if self.retry_after_seconds is not None:
                return Meaning.RETRY_LATER
        return Meaning.FAILED

    @property
    def is_confirmed(self) -> bool:
        body = self.read()
        return body is not None and body.status == "confirmed"

    @property
    def purchase_id(self) -> str | None:
        body = self.read()
        return body.id if body is not None and isinstance(body.id, str) else None

    def read(self) -> AnswerBody | None:
        try:
            return _decoder.decode(self.body)
        except msgspec.DecodeError:
            return None


def _meaning_of_content(body: AnswerBody | None) -> Meaning:
    if body is None:
        return Meaning.FAILED
    if body.status == "queued":
        return Meaning.QUEUED
    return Meaning.DECIDED if body.status in DECIDED_STATUSES else Meaning.FINE


def _meaning_of_problem(body: AnswerBody | None, retry_after_seconds: float | None) -> Meaning:
    if body is None or body.code is None:
        return Meaning.FAILED
    if body.id is not None:
        return Meaning.DECIDED
    if body.code in NOT_ON_SALE_NOW and retry_after_seconds is not None:
        return Meaning.RETRY_LATER
    return Meaning.SOLD_OUT if body.code in NOTHING_LEFT else Meaning.FAILED
