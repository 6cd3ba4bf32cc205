"""The preferences of a client (RFC 7240). Pure."""

import re
from functools import lru_cache
from typing import Final

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
QUOTED = rb'"(?:[^"\\]|\\.)*+"'
# One element of the list: a comma within quotes does not end it.
ELEMENT = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*+"?+)++')
# Its name and value; parameters follow behind a semicolon.
PREFERENCE = re.compile(
    rb"[ \t]*+(%b)[ \t]*+(?:=[ \t]*+(%b|%b)?+[ \t]*+)?+(?:;|$)" % (TOKEN, TOKEN, QUOTED)
)
DIGITS = re.compile(rb'"?([0-9]+)"?')
# Longer ones are not remembered: clients may send anything.
REMEMBERED_BYTES: Final = 32


def preferred_wait(prefer: bytes, max_seconds: int) -> int | None:
    """The seconds of `Prefer: wait=N`, at most `max_seconds`; None without a valid one."""
    if len(prefer) <= REMEMBERED_BYTES:
        return _remembered_wait(prefer, max_seconds)
    return _wait(prefer, max_seconds)


def bounded_seconds(digits: bytes | str, max_seconds: int) -> int:
    """The number of these digits, or `max_seconds` if that is less."""
    # `int` raises an error for more than some thousands of digits.
    return min(int(digits), max_seconds) if len(digits) < 10 else _bounded_long(digits, max_seconds)


def _bounded_long(digits: bytes | str, max_seconds: int) -> int:
    text = digits.decode() if isinstance(digits, bytes) else digits
    significant = text.lstrip("0")
    return max_seconds if len(significant) > 9 else min(int(significant or "0"), max_seconds)


def _wait(prefer: bytes, max_seconds: int) -> int | None:
    for element in ELEMENT.findall(prefer):
        preference = PREFERENCE.match(element)
        # The first one counts, valid or not (RFC 7240, 2).
        if preference is not None and preference[1].lower() == b"wait":
            digits = DIGITS.fullmatch(preference[2] or b"")
            return bounded_seconds(digits[1], max_seconds) if digits is not None else None
    return None


_remembered_wait = lru_cache(256)(_wait)
