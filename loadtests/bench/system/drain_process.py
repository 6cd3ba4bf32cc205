"""Runs a drain, or only the statements of a drain with no Python between, in a process of its own.

The comparison shows what the rule, the reading and the publishing cost. One drain's statements are
recorded, with their values, as the driver sends them. Then they are sent again, one after the
other, to an exact copy of the same database: the same locks, reads, writes and commits of the same
rows, without reading a row of an answer. Whatever the drain's SQL will be, this is the same SQL.
"""

import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from psycopg2.extensions import connection, cursor
from sqlalchemy import Engine, event

from purchase_worker.drain import Batch, drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.prepared_statement import PlainConnection


class Statement(msgspec.Struct, frozen=True):
    """`alone`: a transaction of its own."""

    sql: bytes
    alone: bool


# A statement, or None for a COMMIT.
Script = list[Statement | None]


class DrainTiming(msgspec.Struct, frozen=True):
    """`cpu_seconds`: of this process; PostgreSQL's are its own."""

    seconds: float
    cpu_seconds: float


class _WritingCursor(cursor):
    script: Script

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's own name
        alone = self.connection.autocommit
        self.script.append(Statement(self.mogrify(query, vars), alone))
        super().execute(query, vars)


class _WritingConnection(PlainConnection):
    script: Script

    def commit(self) -> None:
        self.script.append(None)
        super().commit()


def drain_all(settings: Settings, event_id: int, publish: bool) -> DrainTiming:
    """Turn after turn, as the worker takes them, until nothing is queued."""
    engine = open_engine(settings, "bench-drain", pool_size=2, prepares=True)
    engine.connect().close()
    publish_batch = ResultPublisher(settings) if publish else _publish_nothing
    drained = _timed(lambda: _drain(engine, event_id, settings, publish_batch))
    with engine.connect() as connection:
        left: int = connection.exec_driver_sql("SELECT count(*) FROM work_list").scalar_one()
    engine.dispose()
    if left:
        raise RuntimeError(f"{left:,} purchases were not drained")
    return drained


def write_down(settings: Settings, event_id: int) -> Script:
    script: Script = []
    engine = open_engine(settings, "bench-drain", pool_size=2, prepares=True)

    @event.listens_for(engine, "do_connect")
    def write(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        writing_cursor = type("Cursor", (_WritingCursor,), {"script": script})
        parameters["cursor_factory"] = writing_cursor
        parameters["connection_factory"] = type(
            "Connection", (_WritingConnection,), {"script": script}
        )

    engine.connect().close()
    script.clear()  # what SQLAlchemy asks at its first connection
    _drain(engine, event_id, settings, _publish_nothing)
    engine.dispose()
    return script


def send_again(settings: Settings, script: Script) -> DrainTiming:
    engine = open_engine(settings, "bench-drain", pool_size=1, prepares=True)
    pooled = engine.raw_connection()
    plain = cast("connection", pooled.driver_connection)
    drained = _timed(lambda: _send(plain, script))
    pooled.close()
    engine.dispose()
    return drained


def _drain(
    engine: Engine, event_id: int, settings: Settings, publish: Callable[[Batch], None]
) -> None:
    while drain(engine, [event_id], settings, publish).more:
        pass  # its turn is over, and the next one is its as well


def _send(plain: connection, script: Script) -> None:
    with plain.cursor() as sending:
        for statement in script:
            if statement is None:
                plain.commit()
                continue
            if plain.autocommit != statement.alone:
                plain.autocommit = statement.alone
            sending.execute(statement.sql)


def _timed(work: Callable[[], None]) -> DrainTiming:
    cpu_began, began = time.process_time(), time.monotonic()
    work()
    return DrainTiming(time.monotonic() - began, time.process_time() - cpu_began)


def _publish_nothing(_batch: Batch) -> None:
    pass
