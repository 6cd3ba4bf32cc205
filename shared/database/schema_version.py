"""Compares a database's schema with the one that this version of Eventify needs."""

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, open_engine
from shared.errors import ConfigurationError

# Not alembic's, whose import takes longer than all of this.
VERSIONS = Path(__file__).parent / "migrations" / "versions"


def missing_migrations(engine: Engine) -> list[str]:
    """The migrations that have not run yet, the oldest first.

    None is missing after a newer version of Eventify.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable.
    """
    with engine.connect() as connection:
        current = _current(connection)
    return [revision for revision in _revisions() if revision > current]


def is_newer(connection: Connection) -> bool:
    """Whether a newer version of Eventify has migrated the database.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable.
    """
    return _current(connection) > _revisions()[-1]


def _current(connection: Connection) -> str:
    if not connection.scalar(text("SELECT to_regclass('alembic_version')")):
        return ""
    return connection.scalar(text("SELECT max(version_num) FROM alembic_version")) or ""


def _revisions() -> list[str]:
    return sorted(file.name[:4] for file in VERSIONS.glob("[0-9]*.py"))


def refuse_former_schema(settings: Settings, process_name: str) -> None:
    """A service starts only on a schema that has all that it needs; or without a database.

    Raises:
        ConfigurationError: migrations are missing.
    """
    engine = open_engine(settings, process_name, pool_size=1)
    try:
        missing = missing_migrations(engine)
    except DATABASE_UNAVAILABLE:
        return
    finally:
        engine.dispose()
    if missing:
        raise ConfigurationError(missing_migrations_message(missing))


def missing_migrations_message(migrations: list[str]) -> str:
    return f"The database lacks the migrations {', '.join(migrations)}: run `eventify migrate`."
