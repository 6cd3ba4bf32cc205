"""Conditional reads (RFC 9110, 13.1.2)."""

import re
from typing import Annotated

from fastapi import Header

ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
# RFC 9110, 5.6.1: a list, whose empty elements are ignored.
ENTITY_TAGS = re.compile(rf"[ \t,]*+(?:{ENTITY_TAG}[ \t]*+(?:,[ \t,]*+|$))*+")
ANY = "*"

IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="ETags of the states that the client has."),
]


def is_unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether the client has the current representation (304); weak tags count.

    A header that is not a list of entity tags names none.
    """
    if if_none_match is None:
        return False
    if if_none_match.strip(" \t") == ANY:
        return True
    current = current.removeprefix("W/")
    return current in (tag.removeprefix("W/") for tag in entity_tags(if_none_match))


def entity_tags(header: str) -> list[str]:
    """The tags of a list; none if it is malformed."""
    return re.findall(ENTITY_TAG, header) if ENTITY_TAGS.fullmatch(header) else []
