"""The SQL by which each process follows the API keys."""

from collections.abc import Collection
from functools import partial
from typing import Any

from sqlalchemy import Engine

from shared.auth.api_keys import ApiKeys, Changes, StoredKey
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, cursor_transaction, statement
from shared.errors import Unavailable

# A row with the mark alone if there are no keys. A change that is not visible yet has an id from
# the mark on; its row is read again with the next ones. No number from a sequence would do: a later
# one may be visible earlier.
READ = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, k.id, k.user_id, k.scopes, k.hash,
       extract(epoch FROM k.expires_at)::float8,
       k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)
FROM (VALUES (1)) one LEFT JOIN api_keys k ON {wanted}
"""
ALL_LIVE = READ.format(wanted="k.revoked_at IS NULL")
CHANGED = READ.format(wanted="k.changed_xid >= %(mark)s::text::xid8")

# At most once a minute, whichever process asks. Losing it costs nothing: no wait for a standby.
NOTE_USE = """
UPDATE api_keys SET last_used_at = now() WHERE id IN (
    SELECT id FROM api_keys
    WHERE id = ANY(%(ids)s) AND coalesce(last_used_at < now() - interval '1 minute', true)
    FOR UPDATE SKIP LOCKED)
"""


def open_api_keys(settings: Settings, engine: Engine) -> ApiKeys:
    """It needs one connection."""
    return ApiKeys(settings, partial(read_keys, engine), partial(note_use, engine))


def read_keys(engine: Engine, mark: int | None) -> Changes:
    """The keys that have changed since the mark, or all live ones.

    All also where the transaction ids of this server are below the mark: it is another one, which
    has taken over.

    Raises:
        Unavailable: the database is unavailable.
    """
    try:
        with statement(engine) as cursor:
            if mark is not None:
                cursor.execute(CHANGED, {"mark": mark})
                changes = _changes(cursor.fetchall(), is_all=False)
                if changes.mark >= mark:
                    return changes
            cursor.execute(ALL_LIVE)
            return _changes(cursor.fetchall(), is_all=True)
    except DATABASE_UNAVAILABLE as error:
        raise Unavailable from error


def note_use(engine: Engine, ids: Collection[int]) -> None:
    """Store that these keys were used just now.

    Raises:
        Unavailable: the database is unavailable.
    """
    try:
        with cursor_transaction(engine) as cursor:
            cursor.execute("SELECT set_config('synchronous_commit', 'off', true)")
            cursor.execute(NOTE_USE, {"ids": list(ids)})
    except (*DATABASE_UNAVAILABLE, *TRY_AGAIN) as error:
        raise Unavailable from error


def _changes(rows: list[tuple[Any, ...]], *, is_all: bool) -> Changes:
    keys = [
        StoredKey(id_, user_id, scopes, bytes(hashed), expires_at, is_live)
        for _, id_, user_id, scopes, hashed, expires_at, is_live in rows
        if id_ is not None
    ]
    return Changes(keys, rows[0][0], is_all)
