"""Engines on PostgreSQL: how every process connects, with every limit set."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url

from shared.settings import Settings


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
