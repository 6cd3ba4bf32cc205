"""Engines on PostgreSQL: the connections of every process, with all limits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import (
    TRANSACTION_STATUS_IDLE,
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

from shared.config.database_url import CLIENT_ENCODING, option_of, sqlalchemy_url
from shared.config.foreign_variables import remove_foreign_variables
from shared.config.settings import Settings
from shared.database.confirmed_commit import ConfirmedConnection, confirm
from shared.database.prepared_statement import PlainConnection
from shared.database.rights import right_to_take
from shared.database.session_settings import expect_in_role, session_settings, startup_options
from shared.observability.logging import get_logger
from shared.observability.metrics import POOL_WAIT_SECONDS

# A connection in steady use needs no ping; one that was idle may have been dropped.
PING_AFTER_SECONDS = 1.0
# The errors of a statement while the database is unavailable, starting, failing over (read-only for
# a moment) or out of connections.
DATABASE_UNAVAILABLE = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    # SQLAlchemy's, from its own queries on an engine's first connection.
    OperationalError,
    InterfaceError,
    errors.ReadOnlySqlTransaction,
    PoolTimeoutError,
)
# The errors of a transaction that was rolled back because of concurrent ones: it may be retried.
TRY_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)

TAKE_ROLE = """
SELECT set_config('role', rolname, false) FROM pg_roles
WHERE rolname = %s AND pg_has_role(session_user, oid, '{form}')
"""
# A plan must stay good while tables grow from nothing to millions of rows. Each statement on the
# hot path finds few rows by keys: so plans use indexes, in their order.
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
    """This process's pool of connections; open it after a fork, never before (psycopg2).

    Args:
        settings: where to connect, and the limits.
        process_name: shown in `pg_stat_activity`.
        pool_size: connections kept open.
        prepares: prepare `Prepared` statements, if the settings allow it.
        role: of `shared.database.rights`; every session has exactly its rights.
    """
    remove_foreign_variables()
    server_settings = session_settings(settings)
    prepares = prepares and settings.prepare_statements
    if prepares:
        server_settings |= PLANS_THAT_STAY_GOOD
    # A pooler may reject or ignore them.
    options = ""
    if settings.prepare_statements:
        # PostgreSQL's end: otherwise the locks of a vanished worker would stay.
        keepalives = _dropped_after(settings.vanished_after_seconds, "tcp_keepalives")
        options = startup_options(server_settings | keepalives)
    url = sqlalchemy_url(settings.database_url)
    # The URL's come first: of a setting that both have, ours is in force, or the system would not
    # keep its promises.
    options = f"{option_of(url, 'options')} {options}".strip()
    limits = {
        "connect_timeout": settings.database_connect_timeout_seconds,
        # Never a replica: its rows may be old, and it is read-only.
        "target_session_attrs": "read-write",
        **_dropped_after(settings.vanished_after_seconds, "keepalives"),
    }
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        poolclass=_pool_of(process_name),
        # The text of an unexpected error is logged: without users' data.
        hide_parameters=True,
        pool_timeout=settings.database_connect_timeout_seconds,
        connect_args={
            "application_name": f"eventify-{process_name}",
            "client_encoding": CLIENT_ENCODING,
            **({"options": options} if options else {}),
            # Of these the URL's come first.
            **{name: option_of(url, name) or value for name, value in limits.items()},
            "connection_factory": PlainConnection if prepares else ConfirmedConnection,
        },
    )
    _ping_after_idling(engine)
    if not settings.prepare_statements:
        expect_in_role(engine, server_settings)
    elif role is not None:  # with a pooler other clients would get the role
        _take_role(engine, role)
    return engine


def _take_role(engine: Engine, role: str) -> None:
    """SET ROLE on each new connection, so that one login is enough for all services.

    If the role is missing or may not be set, the session has the rights of its login, and a warning
    is logged.
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
    """A pool that measures how long this process waits for a connection."""
    wait_seconds = POOL_WAIT_SECONDS.labels(process_name)

    class TimedPool(QueuePool):
        def connect(self) -> PoolProxiedConnection:
            with wait_seconds.time():
                return super().connect()

    return TimedPool


def _dropped_after(seconds: int, keepalive: str) -> dict[str, str]:
    """After how long without a packet an end of a connection drops it.

    TCP probes an idle connection (keepalive), and waits for acknowledgements (user timeout); its
    defaults are two hours and a quarter of an hour.

    Args:
        seconds: without a packet.
        keepalive: the prefix of this end's options.
    """
    return {
        f"{keepalive}_idle": "1",
        f"{keepalive}_interval": "1",
        f"{keepalive}_count": str(max(1, seconds - 1)),
        "tcp_user_timeout": str(1_000 * seconds),
    }


@contextmanager
def cursor_transaction(engine: Engine, *, synchronous: bool = True) -> Iterator[cursor]:
    """One transaction of plain psycopg2, for the statements that run thousands of times a second.

    Commits when the block ends, rolls back when it raises. An error after the block's end is from
    COMMIT, whose outcome is then unknown.

    Args:
        engine: where to connect.
        synchronous: False: COMMIT waits neither for the disk nor for a standby. For what may be
            lost when the server is.

    Raises:
        psycopg2.Error: from a statement or from COMMIT.
    """
    with _plain(engine) as plain, plain.cursor() as plain_cursor:
        if not synchronous:
            plain_cursor.execute("SELECT set_config('synchronous_commit', 'off', true)")
        yield plain_cursor
        plain.commit()


@contextmanager
def statement(engine: Engine) -> Iterator[cursor]:
    """A cursor on which each statement is a transaction of its own: one round trip, not three.

    Raises:
        psycopg2.Error: from a statement. If the connection was lost, its outcome is unknown.
        CommitUnconfirmed: at the end of the block; the outcome is unknown.
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
    """A cursor for transactions whose BEGIN and COMMIT are sent with other statements.

    The caller writes them, and calls `confirm` after a COMMIT. A transaction that is still open at
    the end is rolled back.

    Raises:
        psycopg2.Error: from a statement. If a COMMIT was sent, its outcome is unknown.
    """
    with statement(engine) as plain_cursor:
        try:
            yield plain_cursor
        finally:
            roll_back(plain_cursor)


def roll_back(plain_cursor: cursor) -> None:
    """Roll back the open transaction of a `session`, if there is one.

    Raises:
        psycopg2.Error: the connection was lost, and the transaction with it.
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
        if plain.closed:  # the pool would try to roll back, and log the stack trace
            pooled.invalidate()
        else:
            pooled.close()  # back to the pool, which rolls back what is left open


def _ping_after_idling(engine: Engine) -> None:
    """Replace idle connections that the server has dropped, before a request gets one.

    SQLAlchemy's pre-ping at every use would cost each batch another round trip.
    """

    @event.listens_for(engine, "checkin")
    def note(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(
        plain: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        assert isinstance(plain, connection)
        # Whoever had it in a transaction that is still open was not able to end it.
        if plain.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            raise DisconnectionError
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < PING_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(plain)
        except psycopg2.Error as error:
            raise DisconnectionError from error
