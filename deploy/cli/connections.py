"""The operator's own connections: what cannot be reached is told in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.config.settings import Settings
from shared.config.url_passwords import without_passwords
from shared.database.engine import open_engine
from shared.errors import ConfigurationError


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """An engine for one command.

    Raises:
        ConfigurationError: the database cannot be reached, or refuses what is asked of it.
    """
    engine = open_engine(settings, "operator", pool_size=2)
    try:
        yield engine
    except (SQLAlchemyError, psycopg2.Error) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        sentence = next(iter(reason.splitlines()), "no reason was given")
        raise ConfigurationError(
            f"The database {without_passwords(settings.database_url)} failed: {sentence}"
        ) from error
    finally:
        engine.dispose()


@contextmanager
def database_connection(settings: Settings) -> Iterator[Connection]:
    """One connection, in a transaction that is committed at the end.

    Raises:
        ConfigurationError: as for `database`.
    """
    with database(settings) as engine, engine.begin() as connection:
        yield connection
