"""Text as clients may send it: what UTF-8 can write and PostgreSQL can store."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

# PostgreSQL stores no NUL; half a surrogate pair, which JSON can carry, has no UTF-8 at all.
NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
# The same for a JSON schema, whose strings have no lone surrogates anyway.
NO_NUL = r"^[^\u0000]*$"


def _storable(value: object) -> object:
    if isinstance(value, str) and NOT_STORABLE.search(value):
        raise ValueError("Null characters and lone surrogates are not allowed.")
    return value


# For a text with limits of its own, after which it has to stand: they are then told in their words.
Storable: Final = BeforeValidator(_storable)
StorableText = Annotated[str, Storable, Field(json_schema_extra={"pattern": NO_NUL})]
