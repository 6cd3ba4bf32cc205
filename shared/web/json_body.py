"""Reads JSON bodies by one rule for all routes: RFC 8259, in UTF-8 without a byte order mark.

Python's own parser also accepts NaN, UTF-16 and a byte order mark; parsers that follow the RFC do
not, so a proxy could see another body than we do. Of a repeated name the last value counts.
"""

import json
import math
from typing import Any, Final

from shared.errors import InvalidInput, MalformedBody

BYTE_ORDER_MARK: Final = "\ufeff"
MAX_DIGITS: Final = 100
NOT_AN_OBJECT: Final = "Must be a JSON object."


class _NotJson(ValueError):
    """Python's parser would accept it; the message is for the client."""


def _no_constant(name: str) -> None:
    raise _NotJson(f"{name} is not a JSON number.")


def _integer(digits: str) -> int | float:
    # Reading digits takes the square of their number, and no field takes so many.
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def parse_json(body: bytes) -> Any:
    """The value of a body.

    Lone surrogates and numbers out of range (infinite here) are errors of their field later.

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


def parse_object(body: bytes) -> dict[str, Any]:
    """The fields of a body.

    Raises:
        MalformedBody: it is not JSON, or missing.
        InvalidInput: it is JSON, and not an object.
    """
    if not body:
        raise MalformedBody("A JSON body is required.")
    fields = parse_json(body)
    if not isinstance(fields, dict):
        raise InvalidInput(errors={"body": [NOT_AN_OBJECT]})
    return fields
