"""Where in a list the next page begins, as an opaque text: the sort key of the row before it.

A text is no secret, and nobody's right: whoever makes one up begins elsewhere in the same list.
"""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from shared.row_ids import MAX_ID

VERSION: Final = 1
# A title of 200 characters, escaped.
MAX_CHARACTERS: Final = 2_000

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Time = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]


def name_of(path: str, filters: Iterable[tuple[str, str]]) -> str:
    """A short name of a list, which is another one with other filters or in another order."""
    return hashlib.sha256(repr((path, sorted(filters))).encode()).hexdigest()[:12]


def encoded(name: str, key: tuple[Any, ...]) -> str:
    stored = msgspec.json.encode([VERSION, name, key])
    return base64.urlsafe_b64encode(stored).decode().rstrip("=")


def decoded(cursor: str, name: str, *kinds: Any) -> tuple[Any, ...]:
    """The sort key, whose values are of these kinds.

    Raises:
        ValueError: it is no cursor of this list.
    """
    if len(cursor) > MAX_CHARACTERS:
        raise ValueError("it is too long")
    padded = cursor + "=" * (-len(cursor) % 4)
    stored = base64.b64decode(padded, altchars=b"-_", validate=True)
    form = tuple[Literal[1], str, tuple[kinds]]  # type: ignore[valid-type]
    _version, of_list, key = msgspec.json.decode(stored, type=form)
    if of_list != name:
        raise ValueError("it is of another list")
    return tuple(key)
