"""The id of a payment, as a shop sends it and asks for it."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from shared.text import LINE_PATTERN, Storable, readable_line

PaymentReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    Storable,
    AfterValidator(readable_line),
    Field(json_schema_extra={"pattern": LINE_PATTERN}),
]
