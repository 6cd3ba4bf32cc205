"""The SQL that says whether events and ticket types have changed."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Engine

from shared.database.engine import DATABASE_UNAVAILABLE, statement
from shared.database.prepared_statement import Prepared, plain_array
from shared.errors import Unavailable
from shared.observability.logging import get_logger

# What a row's representation is made of has a version each: the transaction that wrote it, and
# where it stands. Of a ticket type these are its terms and its counter.
READ_VERSIONS = Prepared(
    "row_versions",
    """
SELECT true, wanted.id, e.version
FROM unnest(%(event_ids)s::bigint[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT xmin || ' ' || ctid AS version FROM events
                    WHERE id = wanted.id OFFSET 0) e
UNION ALL
SELECT false, wanted.id, t.version || ' ' || c.version
FROM unnest(%(ticket_type_ids)s::bigint[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT event_id, xmin || ' ' || ctid AS version FROM ticket_types
                    WHERE id = wanted.id OFFSET 0) t
CROSS JOIN LATERAL (SELECT xmin || ' ' || ctid AS version FROM counters
                    WHERE event_id = t.event_id AND ticket_type_id = wanted.id OFFSET 0) c
""",
)
logger = get_logger(__name__)


class RowName(NamedTuple):
    """An event, or else a ticket type."""

    is_event: bool
    id: int


def read_versions(engine: Engine, names: Sequence[RowName]) -> list[str | None]:
    """A text for each, which changes with its representation; None: there is no such row.

    Raises:
        Unavailable: the database is unavailable.
    """
    wanted = set(names)
    parameters = {
        "event_ids": plain_array(name.id for name in wanted if name.is_event),
        "ticket_type_ids": plain_array(name.id for name in wanted if not name.is_event),
    }
    try:
        with statement(engine) as cursor:
            READ_VERSIONS.run(cursor, parameters)
            found = {RowName(*name): version for *name, version in cursor.fetchall()}
    except DATABASE_UNAVAILABLE as error:
        logger.warning("row_versions_unavailable", error=str(error))
        raise Unavailable from error
    return [found.get(name) for name in names]
