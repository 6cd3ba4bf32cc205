"""The settings of each PostgreSQL session: our limits, and what our SQL relies on.

A direct connection passes them at startup. A pooler in transaction mode ignores or rejects that;
with one, they are settings of the role (docs/engines.md).
"""

import os
from contextlib import closing, suppress

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from shared.config.database_url import CLIENT_ENCODING, driver_arguments
from shared.config.foreign_variables import remove_foreign_variables
from shared.config.settings import Settings
from shared.observability.logging import get_logger

IN_FORCE = "SELECT lower(name), setting FROM pg_settings WHERE lower(name) = ANY(%s)"
# Of our role in our database.
KEPT = "SELECT lower(name) FROM pg_settings WHERE source = 'database user'"
KEEP = "ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = {value}"
# Since PostgreSQL 17.
WITHOUT_TRANSACTION_TIMEOUT = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'
"""
END_OWN_SESSION = "SELECT pg_terminate_backend(pg_backend_pid())"

logger = get_logger(__name__)


def session_settings(settings: Settings) -> dict[str, str]:
    """By name, as `pg_settings` shows them: times in milliseconds."""
    return {
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
        "timezone": "UTC",
        # A warning at COMMIT then means that it is unconfirmed (confirmed_commit.py).
        "client_min_messages": "warning",
        # Locks and guards rely on reading the latest rows after a wait.
        "default_transaction_isolation": "read committed",
        # How our SQL is read, and what it reads of names, moments and numbers.
        "array_nulls": "on",
        "datestyle": "ISO, MDY",
        "extra_float_digits": "1",
        "quote_all_identifiers": "off",
        "standard_conforming_strings": "on",
    }


def startup_options(wanted: dict[str, str]) -> str:
    """The same in the syntax of libpq's `options`."""
    pairs = ((name, value.replace(" ", r"\ ")) for name, value in wanted.items())
    return " ".join(f"-c {name}={value}" for name, value in pairs)


def missing(plain: connection, wanted: dict[str, str]) -> dict[str, str]:
    """Those that are not in force in this session.

    Raises:
        psycopg2.Error: the database is unavailable.
    """
    with plain.cursor() as cursor:
        cursor.execute(IN_FORCE, (list(wanted),))
        in_force = dict(cursor.fetchall())
    plain.rollback()
    return {name: value for name, value in wanted.items() if in_force.get(name) != value}


def expect_in_role(engine: Engine, wanted: dict[str, str]) -> None:
    """Check each new connection of this engine, and log the settings that are missing."""
    # PgBouncer sets the time zone to the client's, not to the role's.
    os.environ["PGTZ"] = wanted["timezone"]

    @event.listens_for(engine, "connect")
    def check(plain: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        assert isinstance(plain, connection)
        absent = missing(plain, wanted)
        if absent:
            logger.warning(
                "session_settings_missing",
                wanted=absent,
                remedy="run `eventify migrate`, then RECONNECT in the pooler's console",
            )


def open_plainly(database_url: str, limit_seconds: int) -> connection:
    """A connection with none of these settings.

    Raises:
        psycopg2.Error: the database is unavailable, or the login is refused.
    """
    remove_foreign_variables()
    ours = {"connect_timeout": limit_seconds, "client_encoding": CLIENT_ENCODING}
    opened: connection = psycopg2.connect(**driver_arguments(database_url) | ours)
    return opened


def keep_in_role(settings: Settings) -> None:
    """Store them as settings of our role in our database.

    Also those that are in force already: else the server's own, at a reload, would be. The session
    used here is terminated, so that a pooler does not reuse it without them.

    Raises:
        psycopg2.Error: the database is unavailable, or the role lacks the right.
    """
    opened = open_plainly(settings.database_url, settings.database_connect_timeout_seconds)
    with closing(opened) as plain, plain.cursor() as cursor:
        wanted = session_settings(settings)
        absent = missing(plain, wanted)
        cursor.execute(KEPT)
        kept = {name for (name,) in cursor.fetchall()} - absent.keys()
        if kept >= wanted.keys():
            return
        cursor.execute("SELECT current_database()")  # a pooler may have another name for it
        database = sql.Identifier(*(cursor.fetchone() or ()))
        for name in wanted.keys() - kept:
            value = wanted[name]
            parts = {"name": sql.Identifier(name), "value": sql.Literal(value)}
            cursor.execute(sql.SQL(KEEP).format(database=database, **parts))
        plain.commit()
        with suppress(psycopg2.OperationalError):
            cursor.execute(END_OWN_SESSION)
