"""What an answer of the gateway means to a buyer. Pure: docs/api.md, as rules."""

from enum import StrEnum

import msgspec

DECIDED_STATUSES = ("confirmed", "rejected")


class Meaning(StrEnum):
    QUEUED = "queued"  # stored, and will be decided
    DECIDED = "decided"  # the outcome, with the purchase's id
    SOLD_OUT = "sold out"  # refused at the door: nothing was stored
    COME_BACK = "come back"  # not now, and told when: 429 or 503 with Retry-After
    FINE = "fine"  # read as asked for
    FAILED = "failed"


class _Body(msgspec.Struct):
    """What a buyer looks at, be it a purchase, a ticket type or a problem."""

    id: str | int | None = None
    status: str | int | None = None
    code: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """One answer; `status` is 0 where there was none."""

    status: int
    body: bytes = b""
    retry_after: str | None = None
    etag: str | None = None

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to stay away; None if it does not say so in seconds."""
        if self.retry_after is None or not self.retry_after.isdecimal():
            return None
        return float(self.retry_after)

    @property
    def meaning(self) -> Meaning:
        match self.status:
            case 202:
                return Meaning.QUEUED
            case 200 | 201:
                return _meaning_of_content(self._read())
            case 304:
                return Meaning.FINE
            case 400:
                return _meaning_of_refusal(self._read())
            case 429 | 503 if self.retry_after_seconds is not None:
                return Meaning.COME_BACK
        return Meaning.FAILED

    @property
    def is_confirmed(self) -> bool:
        """Whether it says that the tickets were bought."""
        body = self._read()
        return body is not None and body.status == "confirmed"

    @property
    def purchase_id(self) -> str | None:
        """The purchase that it tells of; None: of none."""
        body = self._read()
        return body.id if body is not None and isinstance(body.id, str) else None

    def _read(self) -> _Body | None:
        try:
            return msgspec.json.decode(self.body, type=_Body)
        except msgspec.DecodeError:
            return None


def _meaning_of_content(body: _Body | None) -> Meaning:
    if body is None:
        return Meaning.FAILED
    if body.status == "queued":
        return Meaning.QUEUED
    return Meaning.DECIDED if body.status in DECIDED_STATUSES else Meaning.FINE


def _meaning_of_refusal(body: _Body | None) -> Meaning:
    if body is None or body.code is None:
        return Meaning.FAILED
    if body.id is not None:
        return Meaning.DECIDED
    return Meaning.SOLD_OUT if body.code == "not_enough_tickets" else Meaning.FAILED
