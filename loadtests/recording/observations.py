"""What buyers saw of their purchases: kept only until it is written down where it is checked.

    observations.accepted(purchase_id)          # for each 202
    observations.outcome(purchase_id, content)  # for each answer with a decision
    observations.refused(purchase_id, payment)  # for each payment that came too late

One line of JSON each. A Locust worker sends its lines to the master with its next report, and the
process that holds the report writes them to its file, so that a sale of any size fits into memory.
"""

from typing import Any, Final

import msgspec

from loadtests.answers import AnswerBody, Line

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
REFUSED: Final = "refused"
# Under which name they travel in a Locust worker's report.
IN_REPORT: Final = "observations"


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one answer said of a purchase; None: nothing.

    `accepted` is a 202, `refused` a payment that came too late, the rest are outcomes.

    Attributes:
        id: the purchase that the buyer asked for.
        answered_id: the purchase that the answer was about, where that was another.
        decided_at: RFC 3339 in UTC, as the answer had it.
    """

    id: str
    status: str
    answered_id: str | None = None
    reason: str | None = None
    ticket_type: int | None = None
    quantity: int | None = None
    items: list[Line] | None = None
    total_price: str | None = None
    decided_at: str | None = None
    payment_reference: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnswerBody)
_lines = bytearray()


def accepted(purchase_id: str) -> None:
    """A buyer has got a 202: from now on this purchase must be decided."""
    _note(Seen(id=purchase_id, status=ACCEPTED))


def outcome(purchase_id: str, body: bytes) -> None:
    """A buyer has got the outcome of its purchase.

    Args:
        purchase_id: the purchase it asked for.
        body: the answer's content: a decided purchase, or the problem of a rejected one.

    Raises:
        msgspec.DecodeError: the body is neither.
    """
    _note(seen_in(purchase_id, body))


def seen_in(purchase_id: str, body: bytes) -> Seen:
    """What a body says of the outcome; arguments and errors as for `outcome`."""
    answer = _decoder.decode(body)
    is_problem = isinstance(answer.status, int)
    return Seen(
        id=purchase_id,
        status=REJECTED if is_problem else str(answer.status),
        answered_id=None if answer.id == purchase_id else str(answer.id or "no purchase"),
        reason=answer.code if is_problem else answer.reason,
        ticket_type=answer.ticket_type,
        quantity=answer.quantity,
        items=answer.items,
        total_price=answer.total_price,
        decided_at=answer.decided_at,
        payment_reference=answer.payment_reference,
    )


def refused(purchase_id: str, payment_reference: str) -> None:
    """A shop was told to give a payment back."""
    _note(Seen(id=purchase_id, status=REFUSED, payment_reference=payment_reference))


def take() -> bytes:
    """The lines since the last call, which are then this caller's to keep."""
    lines = bytes(_lines)
    _lines.clear()
    return lines


def add_to_report(client_id: str, data: dict[str, Any]) -> None:
    """Let a Locust worker's report carry the lines since the last one."""
    data[IN_REPORT] = take()


def _note(seen: Seen) -> None:
    _encoder.encode_into(seen, _lines, -1)
    _lines.extend(b"\n")
