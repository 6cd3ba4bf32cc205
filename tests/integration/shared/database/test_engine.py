"""Connections of a pool."""

import pytest
from psycopg2 import errors
from sqlalchemy import Engine

from shared.database.engine import statement


def test_a_connection_whose_transaction_failed_and_was_left_open_is_replaced(
    engine: Engine,
) -> None:
    with pytest.raises(errors.DivisionByZero), statement(engine) as cursor:
        cursor.execute("BEGIN; SELECT 1 / 0")
    for _ in range(engine.pool.size() + 1):  # type: ignore[attr-defined]
        with statement(engine) as cursor:
            cursor.execute("SELECT 1")
