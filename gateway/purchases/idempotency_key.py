"""The `Idempotency-Key` header, and the fingerprint of the body that it stands for."""

import hashlib
import re
from functools import lru_cache

from gateway.purchases.request_body import PurchaseInput
from shared.errors import InvalidInput

# 1-255 printable ASCII characters, as a string of a structured field (RFC 8941, 3.3.3) or bare. A
# bare one has no quotes: `"a", "b"` are two keys that a proxy has put into one line.
IDEMPOTENCY_KEY = re.compile(
    r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x20-\x21\x23-\x7e]{1,255})'
)
ESCAPED = re.compile(r"\\(.)")
KEY_FORM = 'A string of 1 to 255 printable ASCII characters, in quotes; a " or \\ in it needs a \\.'
# In an on-sale all bodies are one of a few.
FINGERPRINTS_REMEMBERED = 1_000


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
    return match[2] or ESCAPED.sub(r"\1", match[1])


@lru_cache(FINGERPRINTS_REMEMBERED)
def fingerprint(wanted: PurchaseInput) -> bytes:
    """The same key with another fingerprint is an error of the client."""
    lines = ",".join(f"{line.ticket_type}:{line.quantity}" for line in wanted.lines)
    if wanted.buyer:
        lines += f"\0{wanted.buyer}"
    return hashlib.blake2b(lines.encode(), digest_size=16).digest()
