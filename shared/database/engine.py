"""Engines on PostgreSQL: how every process connects, with every limit set."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import (
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    connection,
    cursor,
)
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from shared.config.database_url import CLIENT_ENCODING, sqlalchemy_url
from shared.config.foreign_variables import remove_foreign_variables
from shared.config.settings import Settings
from shared.database.confirmed_commit import ConfirmedConnection, confirm
from shared.database.prepared_statement import PlainConnection
from shared.database.rights import right_to_take
from shared.database.session_settings import expect_in_role, session_settings, startup_options
from shared.observability.logging import get_logger
from shared.observability.metrics import POOL_WAIT_SECONDS

# A connection in steady use needs no asking whether it lives; one that idled may have been dropped.
PING_AFTER_SECONDS = 1.0
# What a statement raises while the database is away, starting, failing over (read-only for a
# moment) or out of connections.
DATABASE_UNAVAILABLE = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    # The same in SQLAlchemy's wrapping: it asks something itself on an engine's first connection.
    OperationalError,
    InterfaceError,
    errors.ReadOnlySqlTransaction,
    PoolTimeoutError,
)
# What rolled a transaction back whole because of others at the same rows: it may be run again.
TRY_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)

TAKE_ROLE = """
SELECT set_config('role', rolname, false) FROM pg_roles
WHERE rolname = %s AND pg_has_role(session_user, oid, '{form}')
"""
# A plan that is made once must stay good while tables grow from nothing to millions of rows. Each
# statement on the hot path finds few rows by keys: so a plan goes by indexes, in their order.
PLANS_THAT_STAY_GOOD = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

logger = get_logger(__name__)


def open_engine(
    settings: Settings,
    process_name: str,
    *,
    pool_size: int = 5,
    prepares: bool = False,
    role: str | None = None,
) -> Engine:
    """A pool of connections of this process; call it after a fork, never before (psycopg2).

    Args:
        settings: where to connect, and the limits.
        process_name: shown in `pg_stat_activity`.
        pool_size: connections kept open.
        prepares: whether `Prepared` statements are prepared, if the settings allow it.
        role: of `shared.database.rights`, whose rights every session has, and no others.
    """
    remove_foreign_variables()
    server_settings = session_settings(settings)
    prepares = prepares and settings.prepare_statements
    if prepares:
        server_settings |= PLANS_THAT_STAY_GOOD
    # A pooler may refuse them, or drop them without a word.
    options = ""
    if settings.prepare_statements:
        # PostgreSQL's own end: otherwise what a vanished worker has locked stays locked.
        gives_up = _given_up_after(settings.vanished_after_seconds, "tcp_keepalives")
        options = startup_options(server_settings | gives_up)
    url = sqlalchemy_url(settings.database_url)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        poolclass=_pool_of(process_name),
        # An error's text goes to the log when nobody foresaw it: without what users sent.
        hide_parameters=True,
        pool_timeout=settings.database_connect_timeout_seconds,
        connect_args={
            "application_name": f"eventify-{process_name}",
            "client_encoding": CLIENT_ENCODING,
            "connect_timeout": settings.database_connect_timeout_seconds,
            # Never a replica: what it tells may be old, and nothing can be decided there.
            "target_session_attrs": url.query.get("target_session_attrs", "read-write"),
            **({"options": options} if options else {}),
            **_given_up_after(settings.vanished_after_seconds, "keepalives"),
            "connection_factory": PlainConnection if prepares else ConfirmedConnection,
        },
    )
    _ping_after_idling(engine)
    if not settings.prepare_statements:
        expect_in_role(engine, server_settings)
    elif role is not None:  # a pooler would give the role to others; there, logins do it alone
        _take_role(engine, role)
    return engine


def _take_role(engine: Engine, role: str) -> None:
    """Have each new connection take a role, so that one login may do for all services.

    Where it may not, because the database was not migrated yet or nobody could make the role, the
    session goes on with the rights of its login, and a warning.
    """

    @event.listens_for(engine, "connect")
    def take(plain: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        assert isinstance(plain, connection)
        plain.autocommit = True
        with plain.cursor() as cursor:
            cursor.execute(TAKE_ROLE.format(form=right_to_take(plain.server_version)), [role])
            taken = cursor.fetchone()
        plain.autocommit = False
        if taken is None:
            logger.warning("role_missing", role=role, remedy="run `eventify migrate`")


def _pool_of(process_name: str) -> type[QueuePool]:
    """The kind of pool that tells how long this process waits for a connection."""
    wait_seconds = POOL_WAIT_SECONDS.labels(process_name)

    class TimedPool(QueuePool):
        def connect(self) -> PoolProxiedConnection:
            with wait_seconds.time():
                return super().connect()

    return TimedPool


def _given_up_after(seconds: int, keepalive: str) -> dict[str, str]:
    """After which silence an end of a connection takes the other for vanished.

    TCP asks while nobody sends (keepalive), and waits for what was sent to arrive (user timeout).
    Its own defaults are two hours and a quarter of an hour.

    Args:
        seconds: of silence.
        keepalive: how the options of this end begin.
    """
    return {
        f"{keepalive}_idle": "1",
        f"{keepalive}_interval": "1",
        f"{keepalive}_count": str(max(1, seconds - 1)),
        "tcp_user_timeout": str(1_000 * seconds),
    }


@contextmanager
def cursor_transaction(engine: Engine) -> Iterator[cursor]:
    """One transaction of plain psycopg2, for the statements that run thousands of times a second.

    Commits when the block ends, rolls back when it raises. An error that leaves here after the
    block's end comes from COMMIT, whose fate is then unknown.

    Raises:
        psycopg2.Error: from a statement or from COMMIT.
    """
    with _plain(engine) as plain, plain.cursor() as plain_cursor:
        yield plain_cursor
        plain.commit()


@contextmanager
def statement(engine: Engine) -> Iterator[cursor]:
    """A cursor on which each statement is a transaction of its own: one round trip, not three.

    Raises:
        psycopg2.Error: from a statement. When the connection was lost, its fate is unknown.
        CommitUnconfirmed: at the end of the block; so is its fate then.
    """
    with _plain(engine) as plain:
        plain.autocommit = True
        try:
            with plain.cursor() as plain_cursor:
                yield plain_cursor
            confirm(plain)
        finally:
            if not plain.closed:
                plain.autocommit = False


@contextmanager
def session(engine: Engine) -> Iterator[cursor]:
    """A cursor for transactions whose BEGIN and COMMIT travel with other statements.

    Whoever uses it writes them, and calls `confirm` after a COMMIT. What is left open, by an error
    or on purpose, is rolled back.

    Raises:
        psycopg2.Error: from a statement. When COMMIT was among what was sent, its fate is unknown.
    """
    with statement(engine) as plain_cursor:
        try:
            yield plain_cursor
        finally:
            roll_back(plain_cursor)


def roll_back(plain_cursor: cursor) -> None:
    """End the transaction that a `session` has open, if there is one and a connection to it.

    Raises:
        psycopg2.Error: the connection was lost; then there is no transaction either.
    """
    status = plain_cursor.connection.info.transaction_status
    if status in (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR):
        plain_cursor.execute("ROLLBACK")


@contextmanager
def _plain(engine: Engine) -> Iterator[connection]:
    pooled = engine.raw_connection()
    plain = cast("connection", pooled.driver_connection)
    try:
        yield plain
    finally:
        if plain.closed:  # lost: the pool would try to roll back, and log its stack trace
            pooled.invalidate()
        else:
            pooled.close()  # back to the pool, which rolls back what is left open


def _ping_after_idling(engine: Engine) -> None:
    """Replace connections that the server dropped while they idled, before a buyer meets them.

    SQLAlchemy's own pre-ping asks at every use, which would cost each batch a round trip more.
    """

    @event.listens_for(engine, "checkin")
    def note(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(
        plain: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < PING_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(plain)
        except psycopg2.Error as error:
            raise DisconnectionError from error
