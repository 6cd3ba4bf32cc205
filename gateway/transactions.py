"""Transactions of the gateway's ordinary routes: an unavailable database is a 503."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Unavailable
from shared.observability.logging import get_logger

logger = get_logger(__name__)


@contextmanager
def connection_transaction(engine: Engine) -> Iterator[Connection]:
    """Commits when the block ends, rolls back when it raises. It blocks: call it from a thread.

    Raises:
        Unavailable: the database is unavailable, a lock or a connection was not free in time, or
            the connection was lost in COMMIT, whose outcome is then unknown.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, PoolTimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        sqlstate = getattr(cause, "pgcode", None)
        if not isinstance(cause, DATABASE_UNAVAILABLE):
            raise
        logger.warning("database_unavailable", error=type(cause).__name__, sqlstate=sqlstate)
        raise Unavailable("The database is temporarily unavailable; retry.") from error
