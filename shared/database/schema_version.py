"""Compares a database's schema with the one that this version of Eventify needs."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Engine

from shared.database.migrate import alembic_config


def missing_migrations(engine: Engine) -> list[str]:
    """The migrations that have not run yet, the oldest first.

    None is missing after a newer version of Eventify, whose migrations are backward compatible.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable.
    """
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    try:
        scripts = ScriptDirectory.from_config(alembic_config())
        steps = [step.revision for step in scripts.iterate_revisions("head", current or "base")]
    except (ResolutionError, CommandError):  # a revision of a newer version
        return []
    return steps[::-1]
