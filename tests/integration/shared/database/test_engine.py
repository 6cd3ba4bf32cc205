"""Connections of a pool."""

from contextlib import closing

import pytest
from psycopg2 import errors
from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.engine import open_engine, statement
from shared.database.session_settings import (
    keep_in_role,
    missing,
    open_plainly,
    session_settings,
)
from tests.support.servers import server_setting


def test_a_connection_whose_transaction_failed_and_was_left_open_is_replaced(
    engine: Engine,
) -> None:
    with pytest.raises(errors.DivisionByZero), statement(engine) as cursor:
        cursor.execute("BEGIN; SELECT 1 / 0")
    for _ in range(engine.pool.size() + 1):  # type: ignore[attr-defined]
        with statement(engine) as cursor:
            cursor.execute("SELECT 1")


def test_connection_options_of_the_url_are_kept_and_our_own_settings_too(
    settings: Settings,
) -> None:
    query = (
        "?options=-c%20search_path%3Dshop%20-c%20statement_timeout%3D0"
        "&connect_timeout=7&keepalives_idle=9"
    )
    ours = settings.model_copy(update={"database_url": settings.database_url + query})
    engine = open_engine(ours, "test")
    with statement(engine) as cursor:
        used = cursor.connection.get_dsn_parameters()
        assert (used["connect_timeout"], used["keepalives_idle"]) == ("7", "9")
        cursor.execute(
            "SELECT current_setting('search_path'), current_setting('statement_timeout')"
        )
        assert cursor.fetchone() == ("shop", f"{settings.statement_timeout_ms // 60_000}min")
    engine.dispose()


def test_settings_of_a_role_outlast_a_reload_with_others(
    settings: Settings, postgres_url: str
) -> None:
    """As of a session behind a pooler, which passes no settings on."""
    keep_in_role(settings)
    with closing(open_plainly(settings.database_url, 5)) as plain:
        assert missing(plain, session_settings(settings)) == {}
        with server_setting(postgres_url, "datestyle", "SQL, DMY"):
            assert missing(plain, session_settings(settings)) == {}
