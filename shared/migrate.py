"""Brings a database's schema to the newest version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

# Any number of our own: it keeps two migrations from running at once.
MIGRATION_LOCK_ID = 0x45564E54


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Run every migration that is missing; safe to call from several processes at once.

    Args:
        engine: connections to the database.
        revision: how far to go.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away, or a lock was not to be had in time.
    """
    config = alembic_config()
    with engine.connect() as connection:
        # A migration may build an index for longer than any request may run; it still must not
        # queue behind a long transaction, for then every purchase would queue behind it.
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:id)"), {"id": MIGRATION_LOCK_ID})
        connection.execute(text("SET lock_timeout = '2s'"))
        connection.commit()
        try:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:id)"), {"id": MIGRATION_LOCK_ID})
            connection.commit()
            # The session's timeouts were changed: it must not go back to the pool.
            connection.invalidate()
