"""Waiting in tests: for a condition, with a limit, never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine

T = TypeVar("T")
SESSIONS_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def eventually(
    attempt: Callable[[], T],
    *,
    retry_on: type[Exception] | tuple[type[Exception], ...] = AssertionError,
    within_seconds: float = 20.0,
) -> T:
    """Call `attempt` until it raises none of `retry_on`, and return its answer.

    Raises:
        Exception: the last error of `attempt`, when the time is over.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            return attempt()
        except retry_on:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def until_sessions_wait(engine: Engine, count: int = 1, *, within_seconds: float = 20.0) -> None:
    """Until at least `count` sessions of the database wait for a lock."""

    def they_wait() -> None:
        with engine.connect() as watching:
            waiting = watching.exec_driver_sql(SESSIONS_WAITING).scalar_one()
        assert waiting >= count

    eventually(they_wait, within_seconds=within_seconds)
