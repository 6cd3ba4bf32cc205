"""A worker takes confirmations off the work list before it decides them: at most once."""

from collections.abc import Sequence

from psycopg2.extensions import cursor

from purchase_worker import store
from purchase_worker.store import Lane, Queue

TAKE_OFF = """
DELETE FROM work_list w USING requests r
WHERE r.id = w.command_id AND r.kind = 'confirm' AND w.event_id = ANY(%(events)s);
COMMIT; BEGIN;
SELECT FROM lanes WHERE event_id = ANY(%(events)s) FOR NO KEY UPDATE
"""
_read_work = store.read_work


def take_work(cursor: cursor, lanes: Sequence[Lane], rows: int) -> tuple[dict[int, Queue], str]:
    found = _read_work(cursor, lanes, rows)
    cursor.execute(TAKE_OFF, {"events": [lane.event_id for lane in lanes]})
    return found


def break_it() -> None:
    store.read_work = take_work
