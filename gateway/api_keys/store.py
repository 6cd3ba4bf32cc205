"""The SQL of a user's API keys.

Each function is one blocking transaction, and raises `Unavailable` if the database is unavailable.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, insert, select, update

from gateway.api_keys import schemas
from gateway.newest_first import newest_first
from gateway.transactions import connection_transaction
from shared.database.once import KeyedRequest, once
from shared.database.tables import ApiKey, UserRow
from shared.errors import Conflict, InvalidInput, NotFound, TokenNotValid
from shared.web.pagination import CursorWanted, PageWanted

# Of one user, live ones: every process has all keys in memory.
KEYS_MAX = 100
OWN_KEY = tuple(getattr(ApiKey, name) for name in schemas.ApiKey.model_fields)


def add(
    engine: Engine,
    user_id: int,
    name: str,
    scopes: Sequence[str],
    hashed: bytes,
    expires_at: datetime | None,
    keyed: KeyedRequest | None = None,
) -> tuple[schemas.ApiKey, bool]:
    """The new key; or that of an earlier request with the same `Idempotency-Key`, and True.

    Raises:
        IdempotencyKeyReused, NotFound: as `once` does.
        InvalidInput: `expires_at` is not in the future.
        TokenNotValid: the user does not exist any more.
        Conflict: the user has `KEYS_MAX` keys.
    """

    def make() -> schemas.ApiKey:
        # The database's clock, which sets `created_at`.
        if expires_at is not None and connection.scalar(select(func.now() >= expires_at)):
            raise InvalidInput(errors={"expires_at": ["Must be in the future."]})
        # Two requests of one user would both find room for a last key.
        user = connection.scalar(
            select(UserRow.id)
            .where(UserRow.id == user_id, UserRow.erased_at.is_(None))
            .with_for_update(key_share=True)
        )
        if user is None:
            raise TokenNotValid("The account of this token does not exist.")
        live = connection.scalar(select(func.count()).where(*_live(user_id)))
        if live is not None and live >= KEYS_MAX:
            raise Conflict(f"You have {KEYS_MAX} keys; delete those that are not used.")
        row = connection.execute(
            insert(ApiKey)
            .values(
                user_id=user_id,
                name=name,
                scopes=scopes,
                hash=hashed,
                expires_at=expires_at,
            )
            .returning(*OWN_KEY)
        )
        return schemas.ApiKey(**row.mappings().one())

    def find(key_id: int) -> schemas.ApiKey:
        found = select(*OWN_KEY).where(ApiKey.id == key_id, *_live(user_id))
        row = connection.execute(found).mappings().one_or_none()
        if row is None:
            raise NotFound
        return schemas.ApiKey(**row)

    with connection_transaction(engine) as connection:
        return once(connection, keyed, make, find, attrgetter("id"))


def page(engine: Engine, user_id: int, wanted: PageWanted | CursorWanted) -> dict[str, Any]:
    """A page of a user's keys. Raises as `newest_first`."""
    keys = select(*OWN_KEY).where(*_live(user_id))
    with connection_transaction(engine) as connection:
        links, rows = newest_first(connection, keys, ApiKey.id, wanted)
    return links | {"results": [schemas.ApiKey(**row) for row in rows]}


def revoke(engine: Engine, user_id: int, key_id: int) -> bool:
    """False: the user has no such key, or revoked it before."""
    with connection_transaction(engine) as connection:
        revoked = connection.execute(
            update(ApiKey).where(ApiKey.id == key_id, *_live(user_id)).values(revoked_at=func.now())
        )
        return revoked.rowcount > 0


def _live(user_id: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Expired ones are listed too, until their owner deletes them."""
    return ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)
