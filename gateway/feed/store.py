"""The SQL of the feed."""

from collections.abc import Collection, Iterator

from sqlalchemy import Engine

from gateway.event_owner import check_owner
from shared.database.engine import statement
from shared.database.export import Format, export
from shared.database.ledger import LedgerPage, read_entries


def read_page(
    engine: Engine,
    user_id: int,
    event_id: int,
    after: int,
    rows: int,
    kinds: Collection[str] | None = None,
) -> LedgerPage:
    """As `read_entries`, for the event's owner.

    Raises:
        NotFound: there is no such event.
        PermissionDenied: it is another user's.
        psycopg2.Error: nothing was read.
    """
    with statement(engine) as cursor:
        check_owner(cursor, user_id, event_id)
        return read_entries(cursor, event_id, after, rows=rows, kinds=kinds)


def begin_export(engine: Engine, user_id: int, event_id: int, form: Format) -> Iterator[bytes]:
    """As `export`, for the event's owner; raises as `read_page`, also at each part."""
    with statement(engine) as cursor:
        check_owner(cursor, user_id, event_id)
    return export(engine, event_id, form)
