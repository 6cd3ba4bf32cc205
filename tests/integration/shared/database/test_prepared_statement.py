"""Prepared statements: their plans follow the tables."""

import pytest
from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.engine import open_engine, statement
from shared.database.prepared_statement import FIRST_RUNS, Prepared
from tests.support.factories import run


@pytest.mark.parametrize("earlier", [0, FIRST_RUNS, 10 * FIRST_RUNS])
def test_a_plan_for_few_rows_is_not_kept_for_many(
    engine: Engine, settings: Settings, earlier: int
) -> None:
    run(engine, "CREATE TABLE filling (number int) WITH (autovacuum_enabled = off)")
    run(engine, "ANALYZE filling")
    above = Prepared("above", "SELECT FROM filling WHERE number > %(number)s")
    gateway = open_engine(settings, "gateway", pool_size=1, prepares=True)
    with statement(gateway) as cursor:

        def expected_rows() -> int:
            cursor.execute(b"EXPLAIN (FORMAT JSON) " + above.bind(cursor, {"number": 1}))
            ((explained,),) = cursor.fetchall()
            return int(explained[0]["Plan"]["Plan Rows"])

        for _ in range(FIRST_RUNS + earlier):
            above.run(cursor, {"number": 1})
        of_few = expected_rows()
        cursor.execute("INSERT INTO filling SELECT generate_series(1, 100000)")
        assert expected_rows() == of_few
        for _ in range(FIRST_RUNS + earlier):
            above.run(cursor, {"number": 1})
        assert expected_rows() > 10 * of_few
    gateway.dispose()
