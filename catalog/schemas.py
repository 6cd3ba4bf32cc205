"""Types of fields, and examples, of the bodies of both events and ticket types."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt, StringConstraints, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from catalog.rules import MAX_INT4
from shared.row_ids import MAX_ID
from shared.text import LINE_PATTERN, InNfc, Storable, readable_line


def unset() -> Any:
    """The default of a field that a PATCH may leave out, and may not set to null."""
    return None


# White space around a text is cut off.
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    InNfc,
    Storable,
    AfterValidator(readable_line),
    Field(json_schema_extra={"pattern": LINE_PATTERN}),
]
PerUser = Annotated[StrictInt, Field(ge=1, le=MAX_INT4)]
ViewedId = Annotated[
    int,
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]

# Clients send back what they have read, with changes (RFC 9110, 9.3.4), so a body may contain the
# fields of a response, which change nothing. Generated clients have no use for them.
ReadOnly = Annotated[SkipJsonSchema[object], Field(exclude=True)]

TIMES_EXAMPLE = {
    "created_at": "2026-01-08T09:00:00.123456Z",
    "updated_at": "2026-02-01T09:30:00.654321Z",
}
