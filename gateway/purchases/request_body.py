"""The body of a purchase request."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shared.errors import InvalidInput
from shared.row_ids import MAX_ID
from shared.web.json_body import parse_json
from shared.web.unknown_names import unknown_names

MAX_INT4: Final = 2**31 - 1
LIMITS: Final = {"ticket_type": MAX_ID, "quantity": MAX_INT4}


class LineInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Integers only: no strings, floats or booleans."""

    ticket_type: int
    quantity: int


class PurchaseInput(msgspec.Struct, frozen=True):
    """Lines of different ticket types."""

    lines: tuple[LineInput, ...]


# Raised by msgspec: of another form, no JSON, no UTF-8, or nested too deeply.
NOT_A_PURCHASE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decoder = msgspec.json.Decoder(LineInput)


def parse_body(body: bytes) -> PurchaseInput:
    """Read and check a request's body.

    Raises:
        MalformedBody: it is not JSON.
        InvalidInput: a field is missing, unknown, or not a positive integer; names each such field.
    """
    try:
        parsed = _decoder.decode(body)
    except NOT_A_PURCHASE:
        pass
    else:
        if 1 <= parsed.quantity <= MAX_INT4 and 1 <= parsed.ticket_type <= MAX_ID:
            return PurchaseInput((parsed,))
    return _parse_by_field(body)


def _parse_by_field(body: bytes) -> PurchaseInput:
    """Slower, with an error for each field. Of a repeated name the last value counts.

    The decoder above checks every value, so that it fails on a wrong one before the last.
    """
    fields = parse_json(body)
    if not isinstance(fields, dict):
        raise InvalidInput(errors={"body": ["A JSON object is expected."]})
    errors = unknown_names(fields, LIMITS, "field")
    for name, limit in LIMITS.items():
        if (message := _why_invalid_integer(fields, name, limit)) is not None:
            errors[name] = [message]
    if errors:
        raise InvalidInput(errors=errors)
    return PurchaseInput((LineInput(fields["ticket_type"], fields["quantity"]),))


def _why_invalid_integer(fields: Mapping[str, Any], name: str, limit: int) -> str | None:
    if name not in fields:
        return "This field is required."
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return "A valid integer is required."
    if value < 1:
        return "Ensure this value is greater than or equal to 1."
    if value > limit:
        return f"Ensure this value is less than or equal to {limit}."
    return None
