"""Statements that PostgreSQL does not plan each time.

Planning the accept statement takes 0.5 to 1.3 ms, as long as running it for 20 requests
(docs/decisions/0010).
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from psycopg2.extensions import cursor

from shared.database.confirmed_commit import ConfirmedConnection

PARAMETER = re.compile(r"%\((\w+)\)s")


# From here on, a statement is planned again whenever it has been run twice as often. A plan is for
# the tables as they were, until ANALYZE: a minute or more, in which a rush can fill empty ones.
FIRST_RUNS = 8


class PlainConnection(ConfirmedConnection):
    """A psycopg2 connection that knows how often it has run each of its prepared statements."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runs: dict[str, int] = {}


class Prepared:
    """A statement with parameters, written as psycopg2 has them: `%(name)s`.

    Args:
        name: of the prepared statement; unique.
        sql: the types of its parameters follow from their context. Arrays are passed as
            `array_literal`.
    """

    def __init__(self, name: str, sql: str) -> None:
        self.sql = sql
        self._name = name
        names = list(dict.fromkeys(PARAMETER.findall(sql)))
        numbered = {parameter: f"${number}" for number, parameter in enumerate(names, 1)}
        self._prepare = f"PREPARE {name} AS {sql % numbered}"
        arguments = ", ".join(f"%({parameter})s" for parameter in names)
        self._execute = f"EXECUTE {name} ({arguments})" if names else f"EXECUTE {name}"

    def run(self, cursor: cursor, parameters: Mapping[str, Any]) -> None:
        """Run it; the rows are on the cursor.

        Raises:
            psycopg2.Error: as `cursor.execute` does.
        """
        cursor.execute(self.bind(cursor, parameters))

    def bind(self, cursor: cursor, parameters: Mapping[str, Any]) -> bytes:
        """The SQL that runs it on this cursor; join several with semicolons for one round trip.

        Raises:
            psycopg2.Error: it could not be prepared.
        """
        plain = cursor.connection
        if not isinstance(plain, PlainConnection):
            return cursor.mogrify(self.sql, parameters)
        runs = plain.runs.get(self._name, 0)
        if not runs:
            cursor.execute(self._prepare)
        elif runs >= FIRST_RUNS and runs.bit_count() == 1:
            cursor.execute("DISCARD PLANS")
        plain.runs[self._name] = runs + 1
        return cursor.mogrify(self._execute, parameters)


def array_literal(values: Iterable[str | int | bytes | None]) -> str:
    """An array in PostgreSQL's text format.

    psycopg2 renders a list as `ARRAY[...]`, with each element parsed as an expression.
    """
    elements = list(values)
    with suppress(TypeError):  # not all of them are texts
        texts = '","'.join(elements)  # type: ignore[arg-type]
        if elements and "\\" not in texts and texts.count('"') == 2 * (len(elements) - 1):
            return f'{{"{texts}"}}'  # nothing to escape
    return "{" + ",".join(map(_element, elements)) + "}"


def plain_array(values: Iterable[str | int]) -> str:
    """An array of numbers, ids or names, which need no quotes: a third of the time."""
    return "{" + ",".join(map(str, values)) + "}"


def _element(value: str | int | bytes | None) -> str:
    if isinstance(value, str):
        if '"' in value or "\\" in value:  # rare, and the check is faster than replacing
            value = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{value}"'
    if isinstance(value, int):
        return str(value)
    return "NULL" if value is None else rf'"\\x{value.hex()}"'
