"""The `Idempotency-Key` header: what it may be, and how routes get it."""

import hashlib
import re
from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from shared.auth.caller import Caller
from shared.database.once import GONE, REPLAYED, KeyedRequest
from shared.errors import IdempotencyKeyReused, InvalidInput, NotFound

# 1-255 printable ASCII characters, as a string of a structured field (RFC 8941, 3.3.3) or bare. A
# bare one has no quotes: `"a", "b"` are two keys that a proxy has put into one line.
IDEMPOTENCY_KEY = re.compile(
    r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x20-\x21\x23-\x7e]{1,255})'
)
ESCAPED = re.compile(r"\\(.)")
KEY_FORM = 'A string of 1 to 255 printable ASCII characters, in quotes; a " or \\ in it needs a \\.'
# For OpenAPI. A header's own value neither begins nor ends in a space.
KEY_PATTERN = r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~]([ !#-~]{0,253}[!#-~])?)$'
# What the repetition of a creation may be refused with.
KEY_PROBLEMS = (IdempotencyKeyReused, NotFound(GONE, headers=REPLAYED))


def parse_idempotency_key(header: str | None) -> str | None:
    """The key, without its quotes and escapes.

    Raises:
        InvalidInput: it is empty, too long, not printable ASCII, or no single string.
    """
    if header is None:
        return None
    match = IDEMPOTENCY_KEY.fullmatch(header)
    if match is None:
        raise InvalidInput(errors={"Idempotency-Key": [KEY_FORM]})
    bare, quoted = match[2], match[1]
    return bare or (ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)


class RequestKey(NamedTuple):
    """The key of a request to a route, if it has one."""

    user_id: int
    path: str
    key: str | None

    def of(self, body: BaseModel | None = None) -> KeyedRequest | None:
        """The key with its fingerprint: of the path, and of what the body says."""
        if self.key is None:
            return None
        # Fields that a later version adds do not change it.
        said = "" if body is None else body.model_dump_json(exclude_unset=True)
        fingerprint = hashlib.blake2b(f"{self.path}\0{said}".encode(), digest_size=16).digest()
        return KeyedRequest(self.user_id, self.key, fingerprint)


async def request_key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1-255 printable characters, in quotes. The same key, path and body do it"
            " once, and give the present state of what was made or changed.",
            json_schema_extra={"pattern": KEY_PATTERN},
        ),
    ] = None,
) -> RequestKey:
    """Raises InvalidInput."""
    caller: Caller = request.state.caller
    return RequestKey(caller.user_id, request.scope["path"], parse_idempotency_key(key))


# For the routes of an `AuthenticatedRoute` router alone.
IdempotencyKey = Annotated[RequestKey, Depends(request_key)]
