"""Migrates a database to the newest schema, and prepares one that was restored from a dump."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from shared.database.epoch import is_restored, renew_epoch
from shared.database.rights import grant_rights, have_rights
from shared.database.schema_version import is_newer
from shared.database.session_settings import WITHOUT_TRANSACTION_TIMEOUT
from shared.database.transaction_ids import pass_stored_transaction_ids
from shared.errors import ConfigurationError

# Any number of our own: it keeps two migrations from running at once.
MIGRATION_LOCK_ID = 0x45564E54
HEAD = "head"
# Every purchase waits behind a migration that waits for a table. Less than `lock_timeout_ms`, so
# that the migration gives up before any of them; and more than PostgreSQL's `deadlock_timeout` of
# 1 s, after which it cancels an autovacuum that is in the way.
LOCK_TIMEOUT_SECONDS = 1.5
# This session waits for concurrent migrations without limit, and is idle while its own run.
WITHOUT_LIMITS = f"""
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
{WITHOUT_TRANSACTION_TIMEOUT}
"""
# A migration may build an index for longer than any request may run; but it must not wait for a
# long transaction, for then every purchase would wait behind it.
OF_A_MIGRATION = f"""
SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';
{WITHOUT_TRANSACTION_TIMEOUT}
"""
# Which may hold the lock. Only a privileged user sees the times of other users' sessions.
SEES_ALL = text("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")
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


def migrate(
    engine: Engine,
    revision: str = HEAD,
    currency: str = "EUR",
    *,
    restored: bool = False,
    lease_seconds: float = 60.0,
) -> int:
    """Run every missing migration, and grant each service's role its rights.

    A schema of a newer version of Eventify, and its rights, stay as they are: this one runs on it.
    A database that was restored gets a new epoch.

    Several processes may call it at once. Each migration is atomic.

    Args:
        engine: at least two connections to the database.
        revision: how far to go; rights and transaction ids are those of the newest.
        currency: of events that have none yet (ISO 4217).
        restored: it was, also where that cannot be seen.
        lease_seconds: for how long a sender has a delivery to itself.

    Returns:
        The number of transaction ids that were skipped: above 0 once, after a dump was restored.

    Raises:
        ConfigurationError: a lock was not available in time. Run it again later.
        sqlalchemy.exc.DBAPIError: the database is unavailable.
    """
    config = alembic_config()
    try:
        # Lock and limits are of transactions: behind a pooler there is no session.
        with engine.begin() as lock:
            lock.execute(text(WITHOUT_LIMITS))
            lock.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": MIGRATION_LOCK_ID})
            is_ours = not is_newer(lock)
            if is_ours:
                with engine.connect() as connection:
                    event.listen(connection, "begin", _set_limits)
                    config.attributes |= {"connection": connection, "currency": currency}
                    command.upgrade(config, revision)
                if revision != HEAD:
                    return 0
                # A dump is restored without rights, and gets them last: until then no service with
                # a login of its own decides in it. Others need what is new at once.
                if have_rights(engine):
                    grant_rights(engine)
            # It reads all batches. Before the epoch, so that it is done again if interrupted.
            is_another = restored or is_restored(engine)
            passed_over = pass_stored_transaction_ids(engine) if is_another else 0
            renew_epoch(engine, restored=restored, lease_seconds=lease_seconds)
            if is_ours:
                grant_rights(engine)
            return passed_over
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise ConfigurationError(_what_to_do(engine)) from error
        raise
    except PendingRollbackError as error:  # alembic's commit, after the error that matters
        raise (error.__context__ or error) from None


def _set_limits(connection: Connection) -> None:
    connection.exec_driver_sql(OF_A_MIGRATION)


def _what_to_do(engine: Engine) -> str:
    with engine.connect() as connection:
        oldest = connection.execute(READ_OLDEST_TRANSACTION).first()
        sees_all = connection.scalar(SEES_ALL)
    who = "It is over by now." if sees_all else "It is of another login (see pg_locks)."
    if oldest:
        name = oldest.application_name or "without a name"
        who = f"The oldest is of process {oldest.pid} ({name}), open for {oldest.seconds} s."
    return (
        f"A transaction kept a table locked for {LOCK_TIMEOUT_SECONDS} s, so the migration gave up"
        f" and changed nothing. {who} Run it again when it has ended."
    )
