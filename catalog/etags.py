"""Conditional requests (RFC 9110, section 13): what a client read decides what it may do."""

import hashlib
import re

from shared.errors import PreconditionFailed, PreconditionRequired

ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag_of(representation: bytes) -> str:
    """A strong tag: it changes with every byte of the representation."""
    # 128 bits: no two states of a row will ever share a tag by chance.
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'


def is_unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether a reader already has the current representation (304); weak tags count."""
    if if_none_match is None:
        return False
    tags = (tag.removeprefix("W/") for tag in ENTITY_TAG.findall(if_none_match))
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
    if if_match.strip() != "*" and current not in ENTITY_TAG.findall(if_match):
        raise PreconditionFailed
