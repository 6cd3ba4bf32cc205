"""The body of a purchase request."""

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from shared.errors import REQUIRED, InvalidInput
from shared.row_ids import MAX_ID
from shared.web.json_body import NOT_AN_OBJECT, parse_object
from shared.web.unknown_names import unknown_names

Errors = dict[str, list[str]]

MAX_INT4: Final = 2**31 - 1
LINES_MAX: Final = 10
BUYER_MAX_CHARACTERS: Final = 255
BUYER_FORM: Final = f"Must be a text of 1 to {BUYER_MAX_CHARACTERS} printable characters."
# In an on-sale all bodies are one of a few.
FINGERPRINTS_REMEMBERED: Final = 1_000
LIMITS: Final = {"ticket_type": MAX_ID, "quantity": MAX_INT4}


class LineInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Integers only: no strings, floats or booleans."""

    ticket_type: Annotated[int, Meta(ge=1, le=MAX_ID)]
    quantity: Annotated[int, Meta(ge=1, le=MAX_INT4)]


class PurchaseInput(msgspec.Struct, frozen=True, gc=False):
    """Each line has another ticket type.

    `as_items`: they were sent as `items`, so an error names the field `items.0.quantity`.
    """

    lines: tuple[LineInput, ...]
    as_items: bool = False
    # Whom the account buys for; "": itself.
    buyer: str = ""


class _Cart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[tuple[LineInput, ...], Meta(min_length=1, max_length=LINES_MAX)]


# Raised by msgspec: of another form, no JSON, no UTF-8, or nested too deeply.
NOT_OF_THIS_FORM = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_line_decoder = msgspec.json.Decoder(LineInput)
_cart_decoder = msgspec.json.Decoder(_Cart)


def parse_body(body: bytes) -> PurchaseInput:
    """Read and check a request's body: one line, or `items`.

    Raises:
        MalformedBody: it is not JSON.
        InvalidInput: a field is missing, unknown, or not a positive integer, or there are no
            lines, too many, or two of one ticket type; names each such field.
    """
    try:
        return PurchaseInput((_line_decoder.decode(body),))
    except NOT_OF_THIS_FORM:
        pass
    try:
        cart = _cart_decoder.decode(body)
    except NOT_OF_THIS_FORM:
        pass
    else:
        if len({line.ticket_type for line in cart.items}) == len(cart.items):
            return PurchaseInput(cart.items, as_items=True)
    return _parse_by_field(body)


def _parse_by_field(body: bytes) -> PurchaseInput:
    """Slower, with an error for each field. Of a repeated name the last value counts.

    The decoders above check every value, so that they fail on a wrong one before the last.
    """
    fields = parse_object(body)
    has_buyer, buyer = "buyer" in fields, fields.pop("buyer", "")
    as_items = "items" in fields
    if as_items:
        errors, lines = _cart_errors(fields), fields["items"]
    else:
        errors, lines = _line_errors(fields, known=(*LIMITS, "items")), [fields]
    if has_buyer and not is_buyer(buyer):
        errors["buyer"] = [BUYER_FORM]
    if errors:
        raise InvalidInput(errors=errors)
    return PurchaseInput(tuple(LineInput(**line) for line in lines), as_items, buyer)


@lru_cache(FINGERPRINTS_REMEMBERED)
def fingerprint(wanted: PurchaseInput) -> bytes:
    """What an `Idempotency-Key` stands for: with another it is an error of the client."""
    lines = ",".join(f"{line.ticket_type}:{line.quantity}" for line in wanted.lines)
    if wanted.buyer:
        lines += f"\0{wanted.buyer}"
    return hashlib.blake2b(lines.encode(), digest_size=16).digest()


def is_buyer(value: object) -> bool:
    return (
        isinstance(value, str) and 1 <= len(value) <= BUYER_MAX_CHARACTERS and value.isprintable()
    )


def _cart_errors(fields: Mapping[str, Any]) -> Errors:
    errors = unknown_names(fields, (*LIMITS, "items"), "field")
    lines = fields["items"]
    if LIMITS.keys() & fields:
        errors["items"] = ["Send either items, or ticket_type and quantity."]
    elif not isinstance(lines, list):
        errors["items"] = ["Must be a list."]
    elif not lines:
        errors["items"] = ["Must have at least 1 item."]
    elif len(lines) > LINES_MAX:
        errors["items"] = [f"Must have at most {LINES_MAX} items."]
    else:
        earlier: set[int] = set()
        for number, line in enumerate(lines):
            found = _errors_in_cart(line, earlier)
            errors |= {f"items.{number}{name}": messages for name, messages in found.items()}
    return errors


def _errors_in_cart(line: object, earlier: set[int]) -> Errors:
    """`earlier`: the ticket types of the lines before it; gains that of this one."""
    if not isinstance(line, dict):
        return {"": [NOT_AN_OBJECT]}
    errors = _line_errors(line, known=LIMITS)
    if "ticket_type" not in errors:
        if line["ticket_type"] in earlier:
            errors["ticket_type"] = ["An earlier line has this ticket type."]
        earlier.add(line["ticket_type"])
    return {f".{name}": messages for name, messages in errors.items()}


def _line_errors(fields: Mapping[str, Any], known: Collection[str]) -> Errors:
    errors = unknown_names(fields, known, "field")
    for name, limit in LIMITS.items():
        if (message := _why_invalid_integer(fields, name, limit)) is not None:
            errors[name] = [message]
    return errors


def _why_invalid_integer(fields: Mapping[str, Any], name: str, limit: int) -> str | None:
    if name not in fields:
        return REQUIRED
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return "Must be a whole number."
    if value < 1:
        return "Must be at least 1."
    if value > limit:
        return f"Must be at most {limit}."
    return None
