"""A request with an `Idempotency-Key` is done once, however often it is sent.

Keys of purchases and of commands about them are in their rows of `requests`; those of all other
requests are in `idempotency_keys`, with the id of what was made or changed. A key is for one
request of an account, so each side looks at the other. Only if a purchase and another request with
one key are under way at the same moment, both may be done; each is replayed then.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.orm import Session

from shared.database.confirmed_commit import KEPT
from shared.database.tables import IdempotencyKey
from shared.errors import IdempotencyKeyReused, NotFound

T = TypeVar("T")

GONE = "A request with this Idempotency-Key was done, and its object was deleted since."
REPLAYED = {"Idempotency-Replayed": "true"}
# Of an advisory lock; those of payment references have another.
HASH_SEED = 1


class KeyedRequest(NamedTuple):
    """A request with a key. `fingerprint`: of its path and body."""

    user_id: int
    key: str
    fingerprint: bytes


def earlier(connection: Connection | Session, keyed: KeyedRequest) -> int | None:
    """The id of what a request with this key has made or changed; None: there was none.

    With a standby, a commit afterwards waits until it has that.

    Raises:
        IdempotencyKeyReused: it was another request.
    """
    found = connection.execute(
        select(IdempotencyKey.fingerprint, IdempotencyKey.row_id, text(KEPT)).where(
            IdempotencyKey.user_id == keyed.user_id, IdempotencyKey.key == keyed.key
        )
    ).one_or_none()
    if found is None:
        is_of_command = func.eventify_key_of_command(keyed.user_id, keyed.key)
        if connection.scalar(select(is_of_command)):
            raise IdempotencyKeyReused
        return None
    if found.fingerprint != keyed.fingerprint:
        raise IdempotencyKeyReused
    row_id: int = found.row_id
    return row_id


def once(
    connection: Connection | Session,
    keyed: KeyedRequest | None,
    do: Callable[[], T],
    find: Callable[[int], T],
    id_of: Callable[[T], int],
) -> tuple[T, bool]:
    """Do it, unless a request with this key has; in one transaction with its key.

    Args:
        connection: commits both, or none.
        keyed: None: it has no key.
        do: returns what it made or changed.
        find: reads that by its id; raises NotFound.
        id_of: the id of that.

    Returns:
        What was made or changed, as it is now; whether an earlier request had done it.

    Raises:
        IdempotencyKeyReused: an earlier request with this key was another one.
        NotFound: what it made is gone.
    """
    if keyed is None:
        return do(), False
    # Waits for a request with the same key.
    name = func.hashtextextended(f"{keyed.user_id}:{keyed.key}", HASH_SEED)
    connection.execute(select(func.pg_advisory_xact_lock(name)))
    row_id = earlier(connection, keyed)
    if row_id is not None:
        return replayed(row_id, find), True
    done = do()
    connection.execute(insert(IdempotencyKey).values(row_id=id_of(done), **keyed._asdict()))
    return done, False


def replayed(row_id: int, find: Callable[[int], T]) -> T:
    """What a request with a key had made or changed, as it is now.

    Raises:
        NotFound: it is gone.
    """
    try:
        return find(row_id)
    except NotFound:
        raise NotFound(GONE, headers=REPLAYED) from None
