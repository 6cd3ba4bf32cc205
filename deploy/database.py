"""The operator's database connections; an error of the database is one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import errors
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.config.settings import Settings
from shared.config.url_passwords import without_passwords
from shared.database.engine import open_engine
from shared.database.schema_version import missing_migrations, missing_migrations_message
from shared.errors import ConfigurationError

OF_A_FORMER_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction)


@contextmanager
def database(settings: Settings, *, migrating: bool = False) -> Iterator[Engine]:
    """An engine for one command.

    Args:
        settings: which database.
        migrating: migrations may be missing: what the database says is the reason.

    Raises:
        ConfigurationError: the database cannot be reached, or a statement failed.
    """
    engine = open_engine(settings, "operator", pool_size=2)
    try:
        yield engine
    except (SQLAlchemyError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        is_former = isinstance(cause, OF_A_FORMER_SCHEMA) and not migrating
        if is_former and (missing := missing_migrations(engine)):
            raise ConfigurationError(missing_migrations_message(missing)) from error
        sentence = next(iter(str(cause).strip().splitlines()), "no reason was given")
        raise ConfigurationError(
            f"The database {without_passwords(settings.database_url)} failed: {sentence}"
        ) from error
    finally:
        engine.dispose()
