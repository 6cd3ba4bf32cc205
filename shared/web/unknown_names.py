"""Unknown fields and query parameters are errors, never ignored.

A misspelt `max_per_user` that is ignored sells without a limit.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, Literal
from urllib.parse import parse_qsl

Kind = Literal["field", "query parameter"]

# An error names at most this many.
NAMED_MAX: Final = 10
# Longer names are cut and not compared, which takes the square of their length.
NAME_MAX_CHARACTERS: Final = 40
# No operation has as many; 64 KiB of them take 20 ms to parse.
PARAMETERS_MAX: Final = 100


def unknown_names(names: Iterable[str], known: Collection[str], kind: Kind) -> dict[str, list[str]]:
    """An error for each unknown name, for `InvalidInput.errors`."""
    errors: dict[str, list[str]] = {}
    for name in names:
        if name not in known:
            errors[_shown(name)] = [_message(name, known, kind)]
            if len(errors) == NAMED_MAX:
                break
    return errors


def query_errors(query: bytes, known: Collection[str]) -> Mapping[str, list[str]]:
    """An error for each unknown or repeated parameter; "query" is the query string itself."""
    try:
        parameters = parse_qsl(
            query.decode("latin-1"), True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeDecodeError:
        return {"query": ["Must be percent-encoded UTF-8."]}
    except ValueError:
        return {"query": [f"Must have at most {PARAMETERS_MAX} parameters."]}
    names = Counter(name for name, _value in parameters)
    unknown = unknown_names(names, known, "query parameter")
    twice = [name for name, times in names.items() if times > 1 and name in known]
    return unknown | {name: ["Send this parameter once."] for name in twice}


def _message(name: str, known: Collection[str], kind: Kind) -> str:
    close = get_close_matches(name, known, 1) if len(name) <= NAME_MAX_CHARACTERS else []
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"Unknown {kind}.{meant}"


def _shown(name: str) -> str:
    """The name, cut, and without lone surrogates, which UTF-8 cannot encode."""
    return name[:NAME_MAX_CHARACTERS].encode(errors="replace").decode()
