"""Conditional requests (RFC 9110, section 13): what a client read decides what it may do.

A tag is `"<state>"`, or `"<state>.<sold>"` of what is being sold: the first part names all that
people change, the second what sales alone change (docs/decisions/0016).
"""

import hashlib
import re

from shared.errors import PreconditionFailed, PreconditionRequired

ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
# RFC 9110, 5.6.1: a list, whose empty elements are ignored.
ENTITY_TAGS = re.compile(rf"[ \t,]*+(?:{ENTITY_TAG}[ \t]*+(?:,[ \t,]*+|$))*+")
ANY = "*"


def etag_of(state: bytes, *, sold: int | None = None) -> str:
    """A strong tag: it changes with every byte of the state, and with every sale."""
    # 128 bits: no two states of a row will ever share a tag by chance.
    name = hashlib.sha256(state).hexdigest()[:32]
    return f'"{name}"' if sold is None else f'"{name}.{sold}"'


def is_unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether a reader already has the current representation (304); weak tags count.

    A header that is no list of entity tags names none.
    """
    if if_none_match is None:
        return False
    if if_none_match.strip(" \t") == ANY:
        return True
    return current in (tag.removeprefix("W/") for tag in _entity_tags(if_none_match))


def check_if_match(
    if_match: str | None, current: str, *, required: bool = False, guards_sales: bool = True
) -> None:
    """Let a write pass only if it knows the current state; weak tags do not count.

    Args:
        if_match: the header.
        current: the tag of the state as it is.
        required: whether the write needs the header.
        guards_sales: whether it depends on what was sold since it was read.

    Raises:
        PreconditionRequired: there is no If-Match, and this write needs one.
        PreconditionFailed: there is one, and it does not name the current tag; or it is malformed.
    """
    if if_match is None:
        if required:
            raise PreconditionRequired
        return
    if if_match.strip(" \t") == ANY:
        return
    tags = _entity_tags(if_match)
    if not guards_sales:
        current = _state_of(current)
        tags = [_state_of(tag) for tag in tags]
    if current not in tags:
        raise PreconditionFailed


def _state_of(tag: str) -> str:
    state, dot, _sold = tag.partition(".")
    return f'{state}"' if dot else state


def _entity_tags(header: str) -> list[str]:
    """The tags of a list; none, if anything in it is no tag."""
    return re.findall(ENTITY_TAG, header) if ENTITY_TAGS.fullmatch(header) else []
