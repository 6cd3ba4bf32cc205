"""Conditional requests (RFC 9110, section 13): what a client read decides what it may do."""

import hashlib
import re

from shared.errors import PreconditionFailed, PreconditionRequired

ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
# Its empty elements are ignored (RFC 9110, 5.6.1).
ENTITY_TAGS = re.compile(rf"[ \t,]*+(?:{ENTITY_TAG}[ \t]*+(?:,[ \t,]*+|$))*+")


def etag_of(representation: bytes) -> str:
    """A strong tag: it changes with every byte of the representation."""
    # 128 bits: no two states of a row will ever share a tag by chance.
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'


def is_unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether a reader already has the current representation (304); weak tags count."""
    if if_none_match is None:
        return False
    tags = (tag.removeprefix("W/") for tag in _entity_tags(if_none_match))
    return if_none_match.strip() == "*" or current in tags


def check_if_match(if_match: str | None, current: str, *, required: bool) -> None:
    """Let a write pass only if it knows the current representation; weak tags do not count.

    Raises:
        PreconditionRequired: there is no If-Match, and this write needs one.
        PreconditionFailed: there is one, and it does not name the current tag.
    """
    if if_match is None:
        if required:
            raise PreconditionRequired
        return
    if if_match.strip() != "*" and current not in _entity_tags(if_match):
        raise PreconditionFailed


def _entity_tags(header: str) -> list[str]:
    """The tags of `If-Match` or `If-None-Match`; a header of another form names none."""
    return re.findall(ENTITY_TAG, header) if ENTITY_TAGS.fullmatch(header) else []
