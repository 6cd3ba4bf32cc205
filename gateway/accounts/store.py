"""The SQL of accounts and refresh tokens.

Each function is one blocking transaction, and raises `Unavailable` if the database is unavailable.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TypeVar
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.orm import aliased
from uuid_utils.compat import uuid7

from gateway.accounts.refresh import RefreshAction, StoredToken, action_for
from gateway.transactions import connection_transaction
from shared.auth.issuer_tokens import Subject
from shared.auth.usernames import USERNAME_MAX_CHARACTERS, stored_form
from shared.config.trusted_issuers import host_of
from shared.database.tables import RefreshToken, UserRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    username: str
    email: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Login:
    user_id: int
    password_hash: str | None  # None: this user has no password


@dataclass(frozen=True, slots=True)
class IssuedToken:
    user_id: int
    id: UUID
    issued_at: datetime


# A transaction that was spending the token has ended by then.
KEPT_AFTER_EXPIRY = timedelta(hours=1)
NOT_OF_A_USERNAME = re.compile(r"[^a-z0-9.+_-]")
FIND_SUBJECTS = text("""
SELECT id, issuer, subject FROM users
JOIN unnest(CAST(:issuers AS text[]), CAST(:names AS text[])) AS wanted (issuer, subject)
USING (issuer, subject) WHERE issuer IS NOT NULL
""")
ACCOUNT = (UserRow.id, UserRow.username, UserRow.email, UserRow.created_at)
TOKEN = tuple(getattr(RefreshToken, name) for name in StoredToken.__dataclass_fields__)


def add_account(
    engine: Engine, username: str, email: str | None, password_hash: str
) -> Account | None:
    """The new account; None if the name is taken."""
    statement = (
        insert_or_ignore(UserRow)
        .values(username=username, email=email, password_hash=password_hash)
        .on_conflict_do_nothing()
        .returning(*ACCOUNT)
    )
    with connection_transaction(engine) as connection:
        return _one(connection, statement, Account)


def users_of_subjects(engine: Engine, subjects: Sequence[Subject]) -> list[int]:
    """The user of each subject, in order. Who is new becomes one, once for all gateways."""
    with connection_transaction(engine) as connection:
        known = _known_subjects(connection, subjects)
        # All gateways insert in one order, or they could wait for each other in a circle.
        new = sorted(set(subjects) - known.keys())
        if new:
            values = [
                {"username": _name_of(each), "issuer": each.issuer, "subject": each.subject}
                for each in new
            ]
            connection.execute(
                insert_or_ignore(UserRow)
                .values(values)
                .on_conflict_do_nothing(
                    index_elements=[UserRow.issuer, UserRow.subject],
                    index_where=UserRow.issuer.is_not(None),
                )
            )
            # Another statement: it sees users that others have made meanwhile.
            known |= _known_subjects(connection, new)
    return [known[subject] for subject in subjects]


def _known_subjects(connection: Connection, subjects: Sequence[Subject]) -> dict[Subject, int]:
    issuers, names = zip(*subjects, strict=True)
    rows = connection.execute(FIND_SUBJECTS, {"issuers": list(issuers), "names": list(names)})
    return {Subject(row.issuer, row.subject): row.id for row in rows}


def _name_of(subject: Subject) -> str:
    """Random, so that nobody can register it before."""
    host = NOT_OF_A_USERNAME.sub("-", host_of(subject.issuer).lower())
    return f"{token_hex(8)}@{host}"[:USERNAME_MAX_CHARACTERS]


def find_account(engine: Engine, user_id: int) -> Account | None:
    with connection_transaction(engine) as connection:
        return _one(connection, select(*ACCOUNT).where(UserRow.id == user_id), Account)


def find_login(engine: Engine, username: str) -> Login | None:
    """The user with this name: exactly, else as it would be stored now, else in another case.

    In this order, because `lower()` equates more than `stored_form` does, such as İ with i.
    """
    given = func.lower(UserRow.username) == func.lower(username)
    stored = func.lower(UserRow.username) == func.lower(stored_form(username))
    statement = (
        select(UserRow.id.label("user_id"), UserRow.password_hash)
        .where(given | stored)
        .order_by((UserRow.username == username).desc(), stored.desc())
        .limit(1)
    )
    with connection_transaction(engine) as connection:
        return _one(connection, statement, Login)


def replace_password_hash(engine: Engine, login: Login, password_hash: str) -> None:
    """Store another hash of the same password, unless the password was changed meanwhile."""
    statement = (
        update(UserRow)
        .where(UserRow.id == login.user_id, UserRow.password_hash == login.password_hash)
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
    """Exchange a refresh token for its successor, by the rule; None: the token is not valid.

    Args:
        engine: the database.
        token_id: of a token whose signature is valid.
        lifetime: of the successor.
        retry_window: see `action_for`.
    """
    with connection_transaction(engine) as connection:
        _lock_family(connection, token_id)
        token = _read(connection, token_id)
        match action_for(token, _now(connection), retry_window):
            case RefreshAction.ROTATE:
                assert token is not None
                successor = _issue(connection, token.user_id, uuid7(), token.family, lifetime)
                connection.execute(
                    update(RefreshToken)
                    .where(RefreshToken.id == token.id)
                    .values(spent_at=func.clock_timestamp(), successor=successor.id)
                )
                return successor
            case RefreshAction.REPEAT:
                assert token is not None
                assert token.successor is not None
                repeated = _read(connection, token.successor)
                assert repeated is not None
                return IssuedToken(repeated.user_id, repeated.id, repeated.issued_at)
            case RefreshAction.REVOKE_FAMILY:
                assert token is not None
                _revoke(connection, token.family)
    return None


def is_usable(engine: Engine, token_id: UUID) -> bool:
    """Whether this refresh token is known, unspent and not revoked."""
    with connection_transaction(engine) as connection:
        token = _read(connection, token_id)
    return token is not None and token.spent_at is None and token.revoked_at is None


def revoke(engine: Engine, token_id: UUID) -> bool:
    """Revoke this token's family. False if it was revoked before."""
    with connection_transaction(engine) as connection:
        _lock_family(connection, token_id)
        token = _read(connection, token_id)
        if token is None or token.revoked_at is not None:
            return False
        _revoke(connection, token.family)
        return True


def delete_expired(engine: Engine, families: int) -> int:
    """Delete up to `families` families whose tokens all expired; returns the number of tokens.

    A family is deleted as a whole: until then, its first token serves as its lock.
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
    """Serialize transactions on a family, by locking its first token.

    A lock on the given token alone would not do: the family's newest token could be spent at the
    same moment, and its successor, not yet visible, would survive the revocation.
    """
    family = select(RefreshToken.family).where(RefreshToken.id == token_id).scalar_subquery()
    connection.execute(
        select(RefreshToken.id).where(RefreshToken.id == family).with_for_update(key_share=True)
    )


def _read(connection: Connection, token_id: UUID) -> StoredToken | None:
    return _one(connection, select(*TOKEN).where(RefreshToken.id == token_id), StoredToken)


def _one(connection: Connection, statement: Executable, kind: type[T]) -> T | None:
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else kind(**row)


def _issue(
    connection: Connection, user_id: int, token_id: UUID, family: UUID, lifetime: timedelta
) -> IssuedToken:
    # Whole seconds, as in a token: so the same successor can be made from the row again.
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
    """The database's clock, which all gateways share, after the wait for the lock."""
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now
