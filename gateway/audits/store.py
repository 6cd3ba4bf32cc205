"""The SQL of audits of an event.

Each function is one blocking transaction. It raises `Unavailable` if the database is unavailable,
`NotFound` if there is no such event, `PermissionDenied` if it is another user's.
"""

from functools import partial
from operator import attrgetter
from typing import Any, Final

import msgspec
from psycopg2.extensions import cursor
from sqlalchemy import Connection, Engine, delete, func, insert, select

from gateway.audits import schemas
from gateway.newest_first import newest_first
from gateway.transactions import connection_transaction
from shared.database.once import KeyedRequest, once
from shared.database.prepared_statement import Prepared
from shared.database.tables import Audit, Event
from shared.errors import NotFound, PermissionDenied
from shared.purchases import as_time
from shared.web.pagination import CursorWanted, PageWanted

# Of an event, the newest.
KEPT: Final = 100
UNFINISHED: Final = ("queued", "running")
STORED = select(
    Audit.id,
    Audit.event_id.label("event"),
    Audit.status,
    Audit.requested_at,
    Audit.finished_at,
    Audit.entries,
    Audit.seconds,
    Audit.findings,
    Audit.summary,
)
# As `schemas.Audit` is encoded.
READ_LAST = Prepared(
    "audits_last",
    f"""
SELECT json_build_object(
    'id', id, 'event', event_id, 'status', status, 'requested_at', {as_time("requested_at")},
    'finished_at', {as_time("finished_at")}, 'entries', entries, 'seconds', seconds,
    'findings', findings, 'summary', summary)::text
FROM audits WHERE event_id = %(event_id)s ORDER BY event_id DESC, id DESC LIMIT 1
""",
)


def request(
    engine: Engine, user_id: int, event_id: int, keyed: KeyedRequest | None
) -> tuple[schemas.Audit, bool]:
    """A new audit, or the one that is queued or running; whether an earlier request made it.

    Raises IdempotencyKeyReused, as `once` does.
    """

    def make() -> schemas.Audit:
        # Two requests at once would both find none.
        _check_owner(connection, user_id, event_id, lock=True)
        of_event = Audit.event_id == event_id
        waits = STORED.where(of_event, Audit.status.in_(UNFINISHED))
        found = connection.execute(waits).mappings().one_or_none()
        if found is not None:
            return schemas.Audit(**found)
        older = select(Audit.id).where(of_event).order_by(Audit.id.desc()).offset(KEPT - 1)
        connection.execute(delete(Audit).where(Audit.id.in_(older)))
        made = insert(Audit).values(event_id=event_id).returning(Audit.id)
        return _read(connection, event_id, connection.execute(made).scalar_one())

    with connection_transaction(engine) as connection:
        find = partial(_read, connection, event_id)
        return once(connection, keyed, make, find, attrgetter("id"))


def read(engine: Engine, user_id: int, event_id: int, audit_id: int) -> schemas.Audit:
    """Raises NotFound also where the event has no such audit."""
    with connection_transaction(engine) as connection:
        _check_owner(connection, user_id, event_id)
        return _read(connection, event_id, audit_id)


def page(
    engine: Engine, user_id: int, event_id: int, wanted: PageWanted | CursorWanted
) -> dict[str, Any]:
    """A page of the audits of an event. Raises also as `newest_first`."""
    audits = STORED.where(Audit.event_id == event_id)
    with connection_transaction(engine) as connection:
        _check_owner(connection, user_id, event_id)
        links, rows = newest_first(connection, audits, Audit.id, wanted)
    return links | {"results": [schemas.Audit(**row) for row in rows]}


def read_last(cursor: cursor, event_id: int) -> msgspec.Raw | None:
    """The newest audit of an event as JSON. Raises psycopg2.Error."""
    READ_LAST.run(cursor, {"event_id": event_id})
    row = cursor.fetchone()
    return None if row is None else msgspec.Raw(row[0].encode())


def _check_owner(
    connection: Connection, user_id: int, event_id: int, *, lock: bool = False
) -> None:
    owner = select(Event.owner_id).where(Event.id == event_id)
    owner_id = connection.scalar(owner)
    if owner_id is None:
        raise NotFound
    if owner_id != user_id:
        raise PermissionDenied
    if lock:
        name = func.hashtextextended(f"audit:{event_id}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(name)))


def _read(connection: Connection, event_id: int, audit_id: int) -> schemas.Audit:
    found = STORED.where(Audit.event_id == event_id, Audit.id == audit_id)
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound
    return schemas.Audit(**row)
