"""The SQL of accounts and refresh tokens.

Each function is one blocking transaction, and raises `Unavailable` if the database is unavailable.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TypeVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Interval,
    Update,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
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
from shared.auth.tokens import CLOCK_SKEW_SECONDS
from shared.auth.usernames import USERNAME_MAX_CHARACTERS, stored_form
from shared.config.trusted_issuers import host_of
from shared.database.tables import RefreshToken, TokenCutoff, UserRow

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
    username: str
    password_hash: str | None  # None: this user has no password
    locked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    user_id: int
    username: str
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
LOGIN = (
    UserRow.id.label("user_id"),
    UserRow.username,
    UserRow.password_hash,
    UserRow.locked_at,
)
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
    """None: there is no such user, or it was erased."""
    with connection_transaction(engine) as connection:
        return _one(connection, select(*ACCOUNT).where(_is_user(user_id)), Account)


def find_login_of(engine: Engine, user_id: int) -> Login | None:
    with connection_transaction(engine) as connection:
        return _one(connection, select(*LOGIN).where(_is_user(user_id)), Login)


def find_login(engine: Engine, username: str) -> Login | None:
    """The user with this name: exactly, else as it would be stored now, else in another case.

    In this order, because `lower()` equates more than `stored_form` does, such as İ with i.
    """
    given = func.lower(UserRow.username) == func.lower(username)
    stored = func.lower(UserRow.username) == func.lower(stored_form(username))
    statement = (
        select(*LOGIN)
        .where(given | stored)
        .order_by((UserRow.username == username).desc(), stored.desc())
        .limit(1)
    )
    with connection_transaction(engine) as connection:
        return _one(connection, statement, Login)


def find_login_of_subject(engine: Engine, subject: Subject) -> Login | None:
    is_subject = (UserRow.issuer == subject.issuer) & (UserRow.subject == subject.subject)
    with connection_transaction(engine) as connection:
        return _one(connection, select(*LOGIN).where(is_subject), Login)


def replace_password_hash(engine: Engine, login: Login, password_hash: str) -> bool:
    """Store another hash of the same password; False: the stored hash was changed meanwhile."""
    with connection_transaction(engine) as connection:
        changed = connection.execute(_change(login).values(password_hash=password_hash)).rowcount
    return bool(changed)


def change_password(engine: Engine, login: Login, password_hash: str) -> bool:
    """Store the new hash and end all sign-ins; False: the password was changed meanwhile."""
    with connection_transaction(engine) as connection:
        changed = connection.execute(_change(login).values(password_hash=password_hash)).rowcount
        if changed:
            _end_sign_ins(connection, login.user_id)
    return bool(changed)


def change_email(engine: Engine, login: Login, email: str | None) -> Account | None:
    """The changed account; None: the password was changed meanwhile."""
    with connection_transaction(engine) as connection:
        return _one(connection, _change(login).values(email=email).returning(*ACCOUNT), Account)


def erase(engine: Engine, login: Login) -> bool | None:
    """Erase name, e-mail and password, and end all sign-ins.

    Returns:
        False: the user has purchases or events. None: the password was changed meanwhile.
    """
    with connection_transaction(engine) as connection:
        unchanged = select(UserRow.id).where(*_unchanged(login)).with_for_update(key_share=True)
        if connection.execute(unchanged).one_or_none() is None:
            return None
        erased: bool = connection.execute(
            select(func.eventify_erase_user(login.user_id))
        ).scalar_one()
        if erased:
            _end_sign_ins(connection, login.user_id)
        return erased


def lock(engine: Engine, user_id: int) -> None:
    """End all sign-ins, and let none begin until `unlock`. For the operator's login."""
    locked = update(UserRow).where(UserRow.id == user_id)
    with connection_transaction(engine) as connection:
        connection.execute(
            locked.values(locked_at=func.coalesce(UserRow.locked_at, func.clock_timestamp()))
        )
        _end_sign_ins(connection, user_id)
        connection.execute(_cutoff_of(user_id).values(valid_from=None))


def unlock(engine: Engine, user_id: int) -> None:
    """Undo `lock`; the sign-ins that it ended stay ended."""
    with connection_transaction(engine) as connection:
        connection.execute(update(UserRow).where(UserRow.id == user_id).values(locked_at=None))
        connection.execute(
            _cutoff_of(user_id)
            .where(TokenCutoff.valid_from.is_(None))
            .values(valid_from=_cutoff(user_id))
        )


def open_sign_ins(engine: Engine, user_id: int) -> int:
    """How many families of this user can still be refreshed."""
    usable = (
        select(func.count(func.distinct(RefreshToken.family)))
        .where(*_unrevoked(user_id))
        .where(RefreshToken.expires_at > func.now())
    )
    with connection_transaction(engine) as connection:
        count: int = connection.execute(usable).scalar_one()
    return count


def delete_cutoffs(engine: Engine, age: timedelta) -> None:
    """Delete cutoffs of this age: no token from before them is valid any more.

    By the earlier of two clocks: while one is ahead, none goes that is needed once it is right.
    Those of a trusted issuer's users stay: it alone knows how long its tokens are valid.
    """
    now = func.least(_database_second(), int(time.time()))
    is_past = TokenCutoff.valid_from < now - int(age.total_seconds())
    of_issuer = exists().where(UserRow.id == TokenCutoff.user_id, UserRow.issuer.is_not(None))
    with connection_transaction(engine) as connection:
        connection.execute(delete(TokenCutoff).where(is_past, ~of_issuer))


def start_family(
    engine: Engine, user_id: int, password_hash: str, lifetime: timedelta
) -> IssuedToken | None:
    """The first refresh token of a login; its id names the family.

    None: meanwhile the password was changed, or the account was locked.
    """
    token_id = uuid7()
    unchanged = (
        select(UserRow.username)
        .where(_is_user(user_id), UserRow.password_hash == password_hash)
        .where(UserRow.locked_at.is_(None))
        .with_for_update(read=True)
    )
    with connection_transaction(engine) as connection:
        username = connection.execute(unchanged).scalar_one_or_none()
        if username is None:
            return None
        issued_at = _issue(connection, user_id, token_id, token_id, lifetime)
        return IssuedToken(user_id, username, token_id, issued_at)


def spend(
    engine: Engine, token_id: UUID, *, lifetime: timedelta, retry_window: timedelta
) -> IssuedToken | None:
    """Exchange a refresh token for its successor, by the rule; None: the token is not valid.

    It returns all that a response needs: whatever is read later can fail, with the token spent.

    Args:
        engine: the database.
        token_id: of a token whose signature is valid.
        lifetime: of the successor.
        retry_window: see `action_for`.
    """
    with connection_transaction(engine) as connection:
        username = _lock_family(connection, token_id)
        if username is None:
            return None
        token = _read(connection, token_id)
        match action_for(token, _now(connection), retry_window):
            case RefreshAction.ROTATE:
                assert token is not None
                successor = uuid7()
                issued_at = _issue(connection, token.user_id, successor, token.family, lifetime)
                connection.execute(
                    update(RefreshToken)
                    .where(RefreshToken.id == token.id)
                    .values(spent_at=func.clock_timestamp(), successor=successor)
                )
                return IssuedToken(token.user_id, username, successor, issued_at)
            case RefreshAction.REPEAT:
                assert token is not None
                assert token.successor is not None
                repeated = _read(connection, token.successor)
                assert repeated is not None
                return IssuedToken(repeated.user_id, username, repeated.id, repeated.issued_at)
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


def delete_expired(engine: Engine, tokens: int, after: datetime) -> tuple[int, datetime | None]:
    """Look at the next `tokens` that expired later than `after`, and delete those of no more use.

    The first token of a family stays as long as another does: it serves as its lock. A family may
    go on for years, so whoever starts at the oldest each time would see ever more that stay.

    Returns:
        How many were deleted, and when the last one looked at expired; None: there was none.
    """
    other = aliased(RefreshToken)
    expired = (
        select(RefreshToken.id, RefreshToken.expires_at)
        .where(RefreshToken.expires_at > after)
        .where(RefreshToken.expires_at <= func.now() - KEPT_AFTER_EXPIRY)
        .order_by(RefreshToken.expires_at)
        .fetch(tokens, with_ties=True)
        .cte("expired")
    )
    unneeded = select(expired.c.id).where(
        ~exists().where(other.family == expired.c.id, other.id != expired.c.id)
    )
    free = (
        select(RefreshToken.id)
        .where(RefreshToken.id.in_(unneeded))
        .with_for_update(skip_locked=True)
    )
    with connection_transaction(engine) as connection:
        last = connection.execute(select(func.max(expired.c.expires_at))).scalar_one()
        gone = connection.execute(delete(RefreshToken).where(RefreshToken.id.in_(free)))
    return gone.rowcount, last


def _lock_family(connection: Connection, token_id: UUID) -> str | None:
    """Serialize transactions on a family, by locking its first token; and keep its user as it is.

    A lock on the given token alone would not do: the family's newest token could be spent at the
    same moment, and its successor, not yet visible, would survive the revocation. The lock of the
    user is shared: who ends all of its sign-ins waits for those under way.

    Returns:
        The username; None: there is no such token, or the account was erased.
    """
    user = select(RefreshToken.user_id).where(RefreshToken.id == token_id).scalar_subquery()
    named = select(UserRow.username).where(UserRow.id == user).with_for_update(read=True)
    username: str | None = connection.execute(named).scalar_one_or_none()
    family = select(RefreshToken.family).where(RefreshToken.id == token_id).scalar_subquery()
    connection.execute(
        select(RefreshToken.id).where(RefreshToken.id == family).with_for_update(key_share=True)
    )
    return username


def _read(connection: Connection, token_id: UUID) -> StoredToken | None:
    return _one(connection, select(*TOKEN).where(RefreshToken.id == token_id), StoredToken)


def _one(connection: Connection, statement: Executable, kind: type[T]) -> T | None:
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else kind(**row)


def _issue(
    connection: Connection, user_id: int, token_id: UUID, family: UUID, lifetime: timedelta
) -> datetime:
    # Whole seconds, as in a token: so the same successor can be made from the row again. After a
    # cutoff by another host's clock, or in the same second, it is from that moment on.
    cutoff = select(func.to_timestamp(TokenCutoff.valid_from)).where(TokenCutoff.user_id == user_id)
    now = literal(datetime.now(UTC).replace(microsecond=0))
    issued_at = func.greatest(now, cutoff.scalar_subquery())
    new = insert(RefreshToken).values(
        id=token_id,
        family=family,
        user_id=user_id,
        issued_at=issued_at,
        expires_at=issued_at + literal(lifetime, Interval),
    )
    issued: datetime = connection.execute(new.returning(RefreshToken.issued_at)).scalar_one()
    return issued


def _is_user(user_id: int) -> ColumnElement[bool]:
    return (UserRow.id == user_id) & UserRow.username.is_not(None)


def _unchanged(login: Login) -> tuple[ColumnElement[bool], ...]:
    return _is_user(login.user_id), UserRow.password_hash == login.password_hash


def _change(login: Login) -> Update:
    return update(UserRow).where(*_unchanged(login))


def _cutoff_of(user_id: int) -> Update:
    return update(TokenCutoff).where(TokenCutoff.user_id == user_id)


def _unrevoked(user_id: int) -> tuple[ColumnElement[bool], ...]:
    return RefreshToken.user_id == user_id, RefreshToken.revoked_at.is_(None)


def _database_second() -> ColumnElement[int]:
    return func.floor(func.extract("epoch", func.clock_timestamp())).cast(BigInteger)


def _cutoff(user_id: int) -> ColumnElement[int]:
    """After all tokens that are valid now; new ones are valid from it on.

    It is the next second by the database's clock, or a moment that is valid here, should that clock
    be ahead. Each access token has the time of a refresh token, which may be by a clock that is
    ahead of both; a token that is from the future by both is not valid, and none after it would be.
    A trusted issuer's have none: for its users the database's clock alone counts.
    """
    next_second, latest_valid = _database_second() + 1, int(time.time()) + CLOCK_SKEW_SECONDS
    latest = func.greatest(_database_second() + CLOCK_SKEW_SECONDS, latest_valid)
    last_issued = select(func.max(RefreshToken.issued_at)).where(
        RefreshToken.user_id == user_id, RefreshToken.issued_at <= func.to_timestamp(latest)
    )
    after_last = func.extract("epoch", last_issued.scalar_subquery()).cast(BigInteger) + 1
    of_issuer = exists().where(UserRow.id == user_id, UserRow.issuer.is_not(None))
    return func.greatest(
        func.least(next_second, latest_valid), after_last, case((of_issuer, next_second))
    )


def _end_sign_ins(connection: Connection, user_id: int) -> None:
    """Revoke all refresh tokens, and set the cutoff after all access tokens; it never goes back.

    The user's row must be locked, so that none is being issued.
    """
    cutoff = insert_or_ignore(TokenCutoff).values(user_id=user_id, valid_from=_cutoff(user_id))
    connection.execute(
        cutoff.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"valid_from": func.greatest(TokenCutoff.valid_from, cutoff.excluded.valid_from)},
            where=TokenCutoff.valid_from.is_not(None),  # a locked account stays locked
        )
    )
    # Those that have expired, too: the database's clock may be ahead.
    connection.execute(
        update(RefreshToken).where(*_unrevoked(user_id)).values(revoked_at=func.clock_timestamp())
    )


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
