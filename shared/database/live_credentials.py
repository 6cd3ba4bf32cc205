"""The SQL by which each process follows API keys and the ends of tokens."""

from collections.abc import Collection
from functools import partial

import msgspec
from sqlalchemy import Engine

from shared.auth.live_credentials import Changes, LiveCredentials
from shared.auth.tokens import TokenVerifier
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, cursor_transaction, statement
from shared.errors import Unavailable

# `Changes` as JSON, all of one moment. A change that is not visible yet has an id from the mark on;
# its row is read again with the next ones. No number from a sequence would do: a later one may be
# visible earlier.
READ = """
SELECT json_build_object(
    'mark', pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    'is_all', %(mark)s IS NULL,
    'keys', (
        SELECT coalesce(json_agg(k), '[]') FROM (
            SELECT id, user_id, scopes, encode(hash, 'base64') AS hash,
                extract(epoch FROM expires_at)::float8 AS expires_at,
                revoked_at IS NULL AS is_live
            FROM api_keys WHERE {keys}) k),
    'valid_from', (
        SELECT coalesce(json_object_agg(user_id, valid_from), '{{}}')
        FROM token_cutoffs WHERE {cutoffs})
)::text
"""
# With those that have expired: the clock of this server may be ahead, and its setting back changes
# no row. Each use looks at the time.
ALL = READ.format(keys="revoked_at IS NULL", cutoffs="true")
CHANGED = READ.format(**dict.fromkeys(("keys", "cutoffs"), "changed_xid >= %(mark)s::text::xid8"))

# At most once a minute, whichever process asks. Losing it costs nothing.
NOTE_USE = """
UPDATE api_keys SET last_used_at = now() WHERE id IN (
    SELECT id FROM api_keys
    WHERE id = ANY(%(ids)s)
        AND coalesce(last_used_at NOT BETWEEN now() - interval '1 minute' AND now(), true)
    FOR UPDATE SKIP LOCKED)
"""


_changes = msgspec.json.Decoder(Changes)


def open_credentials(
    settings: Settings, engine: Engine, verifier: TokenVerifier
) -> LiveCredentials:
    """It needs one connection."""
    return LiveCredentials(
        settings, verifier, partial(read_changes, engine), partial(note_use, engine)
    )


def read_changes(engine: Engine, mark: int | None) -> Changes:
    """What has changed since the mark, or everything.

    Everything also where the transaction ids of this server are below the mark: it is another one,
    which has taken over.

    Raises:
        Unavailable: the database is unavailable.
    """
    try:
        with statement(engine) as cursor:
            cursor.execute(ALL if mark is None else CHANGED, {"mark": mark})
            (row,) = cursor.fetchall()
    except DATABASE_UNAVAILABLE as error:
        raise Unavailable from error
    changes = _changes.decode(row[0])
    return read_changes(engine, None) if changes.mark < (mark or 0) else changes


def note_use(engine: Engine, ids: Collection[int]) -> None:
    """Store that these keys were used just now.

    Raises:
        Unavailable: the database is unavailable.
    """
    try:
        with cursor_transaction(engine, synchronous=False) as cursor:
            cursor.execute(NOTE_USE, {"ids": list(ids)})
    except (*DATABASE_UNAVAILABLE, *TRY_AGAIN) as error:
        raise Unavailable from error
