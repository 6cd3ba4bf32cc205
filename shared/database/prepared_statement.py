"""Statements that PostgreSQL plans once for each connection, and from then on only runs.

Planning the accept statement takes 0.5 to 1.3 ms, as long as running it for 20 requests
(docs/decisions/0010).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg2.extensions import cursor

from shared.database.confirmed_commit import ConfirmedConnection

PARAMETER = re.compile(r"%\((\w+)\)s")


class PlainConnection(ConfirmedConnection):
    """A connection of psycopg2 that knows what was prepared on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[str] = set()


class Prepared:
    """A statement with parameters, written as psycopg2 has them: `%(name)s`.

    Args:
        name: of the statement on each connection; another statement has another one.
        sql: whose parameters' types follow from where they stand. Arrays are given as
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
        """Run it; the cursor then has its rows.

        Raises:
            psycopg2.Error: as `cursor.execute` does.
        """
        cursor.execute(self.bind(cursor, parameters))

    def bind(self, cursor: cursor, parameters: Mapping[str, Any]) -> bytes:
        """The text that runs it on this cursor; several, with semicolons between, are one trip.

        Raises:
            psycopg2.Error: it could not be prepared.
        """
        plain = cursor.connection
        if not isinstance(plain, PlainConnection):
            return cursor.mogrify(self.sql, parameters)
        if self._name not in plain.prepared:
            cursor.execute(self._prepare)
            plain.prepared.add(self._name)
        return cursor.mogrify(self._execute, parameters)


def array_literal(values: Iterable[str | int | bytes | None]) -> str:
    """An array as PostgreSQL reads it from one text.

    psycopg2 writes a list as `ARRAY[...]`, of which each element is parsed as an expression.
    """
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: str | int | bytes | None) -> str:
    if isinstance(value, str):
        if '"' in value or "\\" in value:  # seldom, and looking is quicker than writing anew
            value = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{value}"'
    if isinstance(value, int):
        return str(value)
    return "NULL" if value is None else rf'"\\x{value.hex()}"'
