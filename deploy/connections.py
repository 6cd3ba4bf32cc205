"""The operator's own connections: what cannot be reached is told in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.database import open_engine
from shared.errors import ConfigurationError
from shared.redis_client import open_redis
from shared.session_settings import keep_in_role
from shared.settings import Settings


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
            f"The database {where(settings.database_url)} failed: {sentence}"
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


def prepare_for_pooler(settings: Settings) -> None:
    """Keep in the role what its sessions need, where we cannot give it to them ourselves."""
    if not settings.prepare_statements:
        keep_in_role(settings)


def redis_answers(settings: Settings) -> bool:
    """Whether Redis can be reached.

    Raises:
        ConfigurationError: its URL cannot be read.
    """
    try:
        client = open_redis(settings)
    except ValueError as error:
        raise ConfigurationError(f"EVENTIFY_REDIS_URL cannot be read: {error}.") from error
    try:
        with client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def where(url: str) -> str:
    """The URL with its passwords hidden, to be shown; several servers have several."""
    hidden = re.sub(r"(?<=://)([^:@/]*):[^@]*@", r"\1:***@", url)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", hidden)
