"""The answer leaves before the commit, which follows a moment later."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.purchases import store

# As of a group commit, or of `synchronous_commit = off`.
LATER_SECONDS = 0.02


@contextmanager
def committed_later(engine: Engine) -> Iterator[cursor]:
    pooled = engine.raw_connection()

    def commit() -> None:
        with suppress(psycopg2.Error):
            pooled.commit()
        pooled.close()

    try:
        with pooled.driver_connection.cursor() as plain_cursor:
            yield plain_cursor
    finally:
        threading.Timer(LATER_SECONDS, commit).start()


def break_it() -> None:
    store.statement = committed_later
