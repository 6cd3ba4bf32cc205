"""The SQL of accounts and refresh tokens.

Each function is one transaction, and blocks. All raise `Unavailable` while the database is away.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.orm import aliased
from uuid_utils.compat import uuid7

from gateway.accounts.refresh import StoredToken, Verdict, judge
from gateway.transactions import connection_transaction
from shared.auth.usernames import stored_form
from shared.database.tables import RefreshToken, User


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    username: str
    email: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Login:
    user_id: int
    password_hash: str | None  # None: this user cannot sign in by password


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What a signed pair is made of."""

    user_id: int
    id: UUID
    issued_at: datetime


# How long a token is kept after its end: by then whoever was just spending it is long done.
KEPT_AFTER_EXPIRY = timedelta(hours=1)
ACCOUNT = (User.id, User.username, User.email, User.created_at)
TOKEN = tuple(getattr(RefreshToken, name) for name in StoredToken.__dataclass_fields__)


def add_account(
    engine: Engine, username: str, email: str | None, password_hash: str
) -> Account | None:
    """The new account; None if the name is taken."""
    statement = (
        insert_or_ignore(User)
        .values(username=username, email=email, password_hash=password_hash)
        .on_conflict_do_nothing()
        .returning(*ACCOUNT)
    )
    with connection_transaction(engine) as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Account(*row)


def find_account(engine: Engine, user_id: int) -> Account | None:
    with connection_transaction(engine) as connection:
        row = connection.execute(select(*ACCOUNT).where(User.id == user_id)).one_or_none()
    return None if row is None else Account(*row)


def find_login(engine: Engine, username: str) -> Login | None:
    """Whose name this is: as it is spelled, as it would be stored now, or else in another case.

    In this order, for `lower()` reads more as one than `stored_form` does: İ as i, for instance.
    """
    given = func.lower(User.username) == func.lower(username)
    stored = func.lower(User.username) == func.lower(stored_form(username))
    statement = (
        select(User.id, User.password_hash)
        .where(given | stored)
        .order_by((User.username == username).desc(), stored.desc())
        .limit(1)
    )
    with connection_transaction(engine) as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Login(*row)


def replace_password_hash(engine: Engine, login: Login, password_hash: str) -> None:
    """Store another hash of the same password, unless the password was changed meanwhile."""
    statement = (
        update(User)
        .where(User.id == login.user_id, User.password_hash == login.password_hash)
        .values(password_hash=password_hash)
    )
    with connection_transaction(engine) as connection:
        connection.execute(statement)


def start_family(engine: Engine, user_id: int, lifetime: timedelta) -> IssuedToken:
    """The first refresh token of a login; its id names the family."""
    token_id = uuid7()
    with connection_transaction(engine) as connection:
        return _issue(connection, user_id, token_id, token_id, lifetime)


def spend(
    engine: Engine, token_id: UUID, *, lifetime: timedelta, retry_window: timedelta
) -> IssuedToken | None:
    """Exchange a refresh token for its successor, as the rule says; None: refused.

    Args:
        engine: the database.
        token_id: of a token whose signature holds.
        lifetime: of the successor.
        retry_window: see `judge`.
    """
    with connection_transaction(engine) as connection:
        _lock_family(connection, token_id)
        token = _read(connection, token_id)
        match judge(token, _now(connection), retry_window):
            case Verdict.ROTATE:
                assert token is not None
                successor = _issue(connection, token.user_id, uuid7(), token.family, lifetime)
                connection.execute(
                    update(RefreshToken)
                    .where(RefreshToken.id == token.id)
                    .values(spent_at=func.clock_timestamp(), successor=successor.id)
                )
                return successor
            case Verdict.REPEAT:
                assert token is not None
                assert token.successor is not None
                repeated = _read(connection, token.successor)
                assert repeated is not None
                return IssuedToken(repeated.user_id, repeated.id, repeated.issued_at)
            case Verdict.REVOKE_FAMILY:
                assert token is not None
                _revoke(connection, token.family)
    return None


def is_usable(engine: Engine, token_id: UUID) -> bool:
    """Whether this refresh token is known, unspent and not revoked."""
    with connection_transaction(engine) as connection:
        token = _read(connection, token_id)
    return token is not None and token.spent_at is None and token.revoked_at is None


def revoke(engine: Engine, token_id: UUID) -> bool:
    """Let no token of this one's family be used again. False if that was so before."""
    with connection_transaction(engine) as connection:
        _lock_family(connection, token_id)
        token = _read(connection, token_id)
        if token is None or token.revoked_at is not None:
            return False
        _revoke(connection, token.family)
        return True


def delete_expired(engine: Engine, families: int) -> int:
    """Delete so many families of which no token can be used any more; returns how many tokens.

    A family goes as a whole: while one of its tokens lives, its first token is needed as its lock.
    """
    first, other = aliased(RefreshToken), aliased(RefreshToken)
    ended_by = func.now() - KEPT_AFTER_EXPIRY
    ended = (
        select(first.id)
        .where(first.id == first.family, first.expires_at <= ended_by)
        .where(~exists().where(other.family == first.id, other.expires_at > ended_by))
        .limit(families)
        .with_for_update(skip_locked=True)
    )
    with connection_transaction(engine) as connection:
        gone = connection.execute(delete(RefreshToken).where(RefreshToken.family.in_(ended)))
    return gone.rowcount


def _lock_family(connection: Connection, token_id: UUID) -> None:
    """Let one transaction at a time work on a family, by locking its first token.

    A lock on the shown token alone would not do: the family's newest token could be spent at the
    same moment, and its successor, not yet visible, would outlive the revocation.
    """
    family = select(RefreshToken.family).where(RefreshToken.id == token_id).scalar_subquery()
    connection.execute(
        select(RefreshToken.id).where(RefreshToken.id == family).with_for_update(key_share=True)
    )


def _read(connection: Connection, token_id: UUID) -> StoredToken | None:
    row = connection.execute(select(*TOKEN).where(RefreshToken.id == token_id)).one_or_none()
    return None if row is None else StoredToken(*row)


def _issue(
    connection: Connection, user_id: int, token_id: UUID, family: UUID, lifetime: timedelta
) -> IssuedToken:
    # Whole seconds: a token's times are no finer, and its successor must be told from the row.
    issued_at = datetime.now(UTC).replace(microsecond=0)
    connection.execute(
        insert(RefreshToken).values(
            id=token_id,
            family=family,
            user_id=user_id,
            issued_at=issued_at,
            expires_at=issued_at + lifetime,
        )
    )
    return IssuedToken(user_id, token_id, issued_at)


def _revoke(connection: Connection, family: UUID) -> None:
    connection.execute(
        update(RefreshToken)
        .where(RefreshToken.family == family, RefreshToken.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )


def _now(connection: Connection) -> datetime:
    """The database's clock, one for all gateways, as it is after the lock was waited for."""
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now
