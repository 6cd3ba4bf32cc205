"""Ids of rows in paths and queries: positive 64-bit integers in ASCII digits."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from shared.errors import NotFound

MAX_ID = 2**63 - 1  # PostgreSQL's bigint
# Python's own `int` also reads 1_0, +1, and the digits of other scripts.
ID = re.compile(r"[1-9][0-9]{0,18}")
NOT_AN_ID = f"Must be a whole number from 1 to {MAX_ID}."


def row_id(text: str) -> int:
    """Raises NotFound for a text that cannot be the id of a row."""
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        raise NotFound
    return int(text)


def _query_id(text: object) -> int:
    try:
        return row_id(str(text))
    except NotFound:
        raise ValueError(NOT_AN_ID) from None


QueryId = Annotated[
    int,
    BeforeValidator(_query_id),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]
