"""The users of trusted issuers' subjects. Gateways make them before they forward a request."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.database_threads import DatabaseThreads
from shared.auth.issuer_tokens import Subject
from shared.database.tables import UserRow
from shared.errors import TokenNotValid


async def user_of(database: DatabaseThreads, subject: Subject) -> int:
    """The id of a subject's user.

    Raises:
        TokenNotValid: there is none, or none any more.
        Unavailable: the database is unavailable, or too many wait.
    """

    def find(session: Session) -> int | None:
        return session.scalar(
            select(UserRow.id).where(
                UserRow.issuer == subject.issuer, UserRow.subject == subject.subject
            )
        )

    user_id = await database.read(f"{subject.issuer} {subject.subject}", find)
    if user_id is None:
        raise TokenNotValid("The user of this token does not exist.")
    return user_id
