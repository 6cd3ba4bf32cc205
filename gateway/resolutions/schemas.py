"""Bodies of the requests that resolve purchases."""

import re
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from gateway.payment_reference import PaymentReference
from gateway.purchases.request_body import LINES_MAX, MAX_INT4, NOT_OF_THIS_FORM
from shared.config.currencies import CURRENCY_PATTERN
from shared.errors import InvalidInput
from shared.row_ids import MAX_ID
from shared.text import TEXT_PATTERN, InNfc, Storable, readable_text
from shared.web.json_body import parse_object
from shared.web.openapi import with_example
from shared.web.problem_details import invalid_input, message_of
from shared.web.strict_routes import RequestBody
from shared.web.unknown_names import unknown_names

EXTEND_MAX_SECONDS = 86_400
# NUMERIC(19, 2): the largest purchase there can be costs 99,999,999,999,900,000.00.
AMOUNT_PATTERN = r"^[0-9]{1,17}(\.[0-9]{1,2})?$"

Body = TypeVar("Body", bound=RequestBody)


def _amount(value: object) -> Decimal:
    """A JSON number such as 19.99 is a binary fraction to most programs, which is not 19.99."""
    if not isinstance(value, str) or not re.fullmatch(AMOUNT_PATTERN, value, re.ASCII):
        raise ValueError('Must be a decimal string such as "100.00", with at most 2 decimals.')
    return Decimal(value)


class PurchaseLine(RequestBody):
    ticket_type: Annotated[StrictInt, Field(ge=1, le=MAX_ID)]
    quantity: Annotated[StrictInt, Field(ge=1, le=MAX_INT4)]


def _each_type_once(lines: list[PurchaseLine]) -> list[PurchaseLine]:
    if len({line.ticket_type for line in lines}) < len(lines):
        raise ValueError("Must have each ticket type once.")
    return lines


class PurchaseConfirm(RequestBody):
    """A payment of a held purchase."""

    model_config = with_example(
        {
            "payment_reference": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
            "amount": "250.00",
            "currency": "EUR",
        }
    )

    payment_reference: Annotated[
        PaymentReference, Field(description="The payment provider's id of the payment.")
    ]
    amount: Annotated[
        Decimal,
        BeforeValidator(_amount),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": AMOUNT_PATTERN,
                "description": "The purchase's `total_price`.",
            }
        ),
    ]
    currency: Annotated[
        str, Field(pattern=CURRENCY_PATTERN, description="The purchase's (ISO 4217).")
    ]


class _PlainConfirm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `PurchaseConfirm` of plain ASCII, as nearly all are."""

    payment_reference: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^ *[!-~][ -~]*\Z")]
    amount: Annotated[str, msgspec.Meta(pattern=AMOUNT_PATTERN[:-1] + r"\Z")]
    currency: Annotated[str, msgspec.Meta(pattern=CURRENCY_PATTERN[:-1] + r"\Z")]


_plain_confirm = msgspec.json.Decoder(_PlainConfirm)


class PurchaseRelease(RequestBody):
    """It has no fields."""


class PurchaseCancel(RequestBody):
    """Tickets of a confirmed purchase to take back."""

    model_config = with_example(
        {"items": [{"ticket_type": 1, "quantity": 1}], "restock": True, "note": "Refunded"}
    )

    items: Annotated[
        Annotated[list[PurchaseLine], Field(min_length=1, max_length=LINES_MAX)] | None,
        AfterValidator(lambda lines: lines and _each_type_once(lines)),
        Field(description="null: all that are left of the purchase."),
    ] = None
    restock: Annotated[StrictBool, Field(description="Whether the tickets go back on sale.")] = True
    note: Annotated[
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=500),
            InNfc,
            Storable,
            AfterValidator(readable_text),
            Field(json_schema_extra={"pattern": TEXT_PATTERN}),
        ]
        | None,
        Field(description="For the ledger: why."),
    ] = None


class HoldExtend(RequestBody):
    """More time for all open holds of an event."""

    model_config = with_example({"seconds": 1_800})

    seconds: Annotated[StrictInt, Field(ge=1, le=EXTEND_MAX_SECONDS)]


class HoldExtension(BaseModel):
    """An extension. `extended`: null while it waits for its decision."""

    model_config = with_example({"seconds": 1_800, "extended": 42})

    seconds: int = Field(ge=1)
    extended: int | None = Field(ge=0, description="The number of holds that are open now.")


def parse_confirm(body: bytes) -> dict[str, Any]:
    """The fields of a `PurchaseConfirm`; those of a plain one in a tenth of the time.

    Raises:
        MalformedBody, InvalidInput: as `parse`.
    """
    try:
        plain = _plain_confirm.decode(body)
    except NOT_OF_THIS_FORM:
        return parse(PurchaseConfirm, body).model_dump()
    return {
        "payment_reference": plain.payment_reference,
        "amount": Decimal(plain.amount),
        "currency": plain.currency,
    }


def parse(model: type[Body], body: bytes) -> Body:
    """A body without a required field may be empty.

    Raises:
        MalformedBody: it is not JSON, or missing.
        InvalidInput: names each field that is missing, unknown or not valid.
    """
    may_be_empty = not any(field.is_required() for field in model.model_fields.values())
    fields = {} if may_be_empty and not body else parse_object(body)
    if errors := unknown_names(fields, model.model_fields, "field"):
        raise InvalidInput(errors=errors)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_input((e["loc"], message_of(e)) for e in error.errors()) from None
