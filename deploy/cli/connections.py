"""The operator's own connections: what cannot be reached is told in one sentence."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.logins import ROLE_OF_SETTING, login_urls, make_logins
from shared.database.migrate import migrate
from shared.database.rights import missing_roles
from shared.database.session_settings import keep_in_role
from shared.errors import ConfigurationError
from shared.messaging.redis_client import open_redis


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


def migrate_all(engine: Engine, settings: Settings, say: Callable[[str], None]) -> int:
    """Bring the schema, the services' rights and their logins to where this version has them.

    Returns:
        How many transaction ids were passed over (`shared.database.migrate.migrate`).

    Raises:
        ConfigurationError: with what to do first.
    """
    _prepare_for_pooler(settings, settings.database_url)
    passed_over = migrate(engine)
    make_logins(engine, settings)
    for url in login_urls(settings).values():
        _prepare_for_pooler(settings, url)
    own_logins = len(login_urls(settings)) == len(ROLE_OF_SETTING)
    if not own_logins and (what_to_do := missing_roles(engine)):
        say(f"Warning: {what_to_do}")
    return passed_over


def _prepare_for_pooler(settings: Settings, url: str) -> None:
    """Keep in the login what its sessions need, where we cannot give it to them ourselves."""
    if not settings.prepare_statements:
        keep_in_role(settings.model_copy(update={"database_url": url}))


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
