"""Reads JSON bodies by one rule for all routes: RFC 8259, in UTF-8 without a byte order mark.

Python's own parser also takes NaN, UTF-16, and a byte order mark; those that follow the RFC do not,
so each client and proxy on the way would see another body. Of a name that stands twice the last
value counts.
"""

import json
import math
from typing import Any, Final

from shared.errors import MalformedBody

BYTE_ORDER_MARK: Final = "\ufeff"
MAX_DIGITS: Final = 100


class _NotJson(ValueError):
    """What Python's parser would take; the message is for the client."""


def _no_constant(name: str) -> None:
    raise _NotJson(f"{name} is not a JSON number.")


def _integer(digits: str) -> int | float:
    # Reading digits takes the square of their number, and no field takes so many.
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def parse_json(body: bytes) -> Any:
    """The value of a body. What no field takes is refused by the field's name: lone surrogates,
    and numbers out of range, which are infinite here.

    Raises:
        MalformedBody: it is not JSON.
    """
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError:
        raise MalformedBody("The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedBody("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        if error.doc.startswith(BYTE_ORDER_MARK):
            raise MalformedBody("The body begins with a byte order mark.") from None
        raise MalformedBody from None
    except _NotJson as error:
        raise MalformedBody(f"The body is not valid JSON: {error}") from None
