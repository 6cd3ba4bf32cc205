"""Whether a database has the schema that this version of Eventify needs."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Engine

from shared.database.migrate import alembic_config


def missing_migrations(engine: Engine) -> list[str]:
    """The migrations that were not run yet, the oldest first.

    None is missing where a newer version of Eventify was, for its migrations keep what is older
    at work.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away.
    """
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    try:
        scripts = ScriptDirectory.from_config(alembic_config())
        steps = [step.revision for step in scripts.iterate_revisions("head", current or "base")]
    except (ResolutionError, CommandError):  # a revision that only a newer version knows
        return []
    return steps[::-1]
