"""Who may read what was sold of an event: its owner."""

from psycopg2.extensions import cursor

from shared.database.prepared_statement import Prepared
from shared.errors import NotFound, PermissionDenied

OWNER = Prepared("owner_of_event", "SELECT owner_id FROM events WHERE id = %(event_id)s")


def check_owner(cursor: cursor, user_id: int, event_id: int) -> None:
    """Raises:
    NotFound: there is no such event.
    PermissionDenied: it is another user's.
    psycopg2.Error: it is not known.
    """
    OWNER.run(cursor, {"event_id": event_id})
    found = cursor.fetchone()
    if found is None:
        raise NotFound
    if found[0] != user_id:
        raise PermissionDenied
