"""Ids of rows as they come in paths and queries: positive 64-bit integers."""

import re

from shared.errors import NotFound

MAX_ID = 2**63 - 1  # PostgreSQL's bigint
ID = re.compile(r"[1-9][0-9]{0,18}")


def row_id(text: str) -> int:
    """The id that a path names.

    Raises:
        NotFound: no row can have it.
    """
    if not ID.fullmatch(text) or int(text) > MAX_ID:
        raise NotFound
    return int(text)
