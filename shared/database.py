"""Engines on PostgreSQL: how every process connects, with every limit set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg2
from psycopg2.extensions import connection, cursor
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.settings import Settings

# What a statement raises while the database is away, starting, failing over or out of connections.
DATABASE_AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, PoolTimeoutError)


def sqlalchemy_url(database_url: str) -> URL:
    """The URL with the driver that we use, whatever driver it names."""
    return make_url(database_url).set(drivername="postgresql+psycopg2")


def open_engine(settings: Settings, process_name: str, *, pool_size: int | None = None) -> Engine:
    """A pool of connections of this process; call it after a fork, never before (psycopg2).

    Args:
        settings: where to connect, and the limits.
        process_name: shown in `pg_stat_activity`.
        pool_size: connections kept open; the settings' own when not given.
    """
    server_settings = {
        "statement_timeout": settings.statement_timeout_ms,
        "lock_timeout": settings.lock_timeout_ms,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout_ms,
        "timezone": "UTC",
    }
    return create_engine(
        sqlalchemy_url(settings.database_url),
        pool_size=pool_size or settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_connect_timeout_seconds,
        # A connection that the server dropped is replaced at its next use, not handed to a buyer.
        pool_pre_ping=True,
        connect_args={
            "application_name": f"eventify-{process_name}",
            "connect_timeout": settings.database_connect_timeout_seconds,
            "options": " ".join(f"-c {name}={value}" for name, value in server_settings.items()),
            # A peer that vanished without a word is noticed in seconds, not in hours.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[cursor]:
    """One transaction of plain psycopg2, for the statements that run thousands of times a second.

    Commits when the block ends, rolls back when it raises. An error that leaves here after the
    block's end comes from COMMIT, whose fate is then unknown.

    Raises:
        psycopg2.Error: from a statement or from COMMIT.
    """
    pooled = engine.raw_connection()
    try:
        plain = cast("connection", pooled)
        with plain.cursor() as plain_cursor:
            yield plain_cursor
        plain.commit()
    finally:
        # Back to the pool, which rolls back what is left open and drops a broken connection.
        pooled.close()
