"""Brings a database to the newest schema, and makes one that was restored ready for sales."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError

from shared.database.rights import give_rights
from shared.database.transaction_ids import pass_stored_transaction_ids
from shared.errors import ConfigurationError

# Any number of our own: it keeps two migrations from running at once.
MIGRATION_LOCK_ID = 0x45564E54
HEAD = "head"
# Everybody who buys waits behind a migration that waits for a table. Half of `lock_timeout_ms`, so
# that it gives way before any of them does.
LOCK_TIMEOUT_SECONDS = 1
# Whoever waits for another's migrations waits as long as they take, and idles while its own run.
WITHOUT_LIMITS = """
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""
# A migration may build an index for longer than any request may run; it still must not queue behind
# a long transaction, for then every purchase would queue behind it.
OF_A_MIGRATION = f"""
SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'
"""
# Who may keep a table from us. Of other users' sessions only a privileged user sees the times.
READ_OLDEST_TRANSACTION = text("""
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
  AND wait_event IS DISTINCT FROM 'advisory' -- another migration, which waits for this one
ORDER BY xact_start LIMIT 1
""")


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(engine: Engine, revision: str = HEAD) -> int:
    """Run every migration that is missing, and give each service's role its rights.

    It is safe to call from several processes at once.

    Each migration is done whole or not at all.

    Args:
        engine: at least two connections to the database.
        revision: how far to go.

    Returns:
        How many transaction ids were passed over: above 0 after a dump was restored, and once.

    Raises:
        ConfigurationError: a lock was not to be had in time. Run it again later.
        sqlalchemy.exc.DBAPIError: the database is away.
    """
    config = alembic_config()
    try:
        # Lock and limits last for transactions: behind a pooler there is no session.
        with engine.begin() as lock:
            lock.execute(text(WITHOUT_LIMITS))
            lock.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": MIGRATION_LOCK_ID})
            with engine.connect() as connection:
                event.listen(connection, "begin", _set_limits)
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
            if revision == HEAD:
                give_rights(engine)
            return pass_stored_transaction_ids(engine)
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise ConfigurationError(_what_to_do(engine)) from error
        raise


def _set_limits(connection: Connection) -> None:
    connection.exec_driver_sql(OF_A_MIGRATION)


def _what_to_do(engine: Engine) -> str:
    with engine.connect() as connection:
        oldest = connection.execute(READ_OLDEST_TRANSACTION).first()
    who = "It is over by now."
    if oldest:
        name = oldest.application_name or "without a name"
        who = f"The oldest is of process {oldest.pid} ({name}), open for {oldest.seconds} s."
    return (
        f"A transaction kept a table locked for {LOCK_TIMEOUT_SECONDS} s, so the migration gave way"
        f" and changed nothing. {who} Run it again when it has ended."
    )
