"""ETags and conditional requests (RFC 9110, section 13).

A tag is `"<state>"`, or `"<state>.<held>.<sold>"` of a ticket type: the first part changes with the
fields that its owner sets, the others with sales (docs/decisions/0016).
"""

import hashlib

from shared.errors import PreconditionFailed, PreconditionRequired
from shared.web.if_none_match import ANY, entity_tags


def etag_of(state: bytes, *sales: int) -> str:
    """A strong tag: it changes with every byte of the state, and with each figure of the sales."""
    # 128 bits: two states of a row do not share a tag by chance.
    name = hashlib.sha256(state).hexdigest()[:32]
    return f'"{".".join((name, *map(str, sales)))}"'


def check_if_match(
    if_match: str | None, current: str, *, required: bool = False, guards_sales: bool = True
) -> None:
    """Check that a write names the current state; weak tags do not count.

    Args:
        if_match: the header.
        current: the current tag.
        required: whether the write requires the header.
        guards_sales: whether a sale since the read invalidates it.

    Raises:
        PreconditionRequired: If-Match is required and missing.
        PreconditionFailed: it does not name the current tag, or is malformed.
    """
    if if_match is None:
        if required:
            raise PreconditionRequired
        return
    if if_match.strip(" \t") == ANY:
        return
    tags = entity_tags(if_match)
    if not guards_sales:
        current = _state_of(current)
        tags = [_state_of(tag) for tag in tags]
    if current not in tags:
        raise PreconditionFailed


def _state_of(tag: str) -> str:
    state, dot, _sales = tag.partition(".")
    return f'{state}"' if dot else state
