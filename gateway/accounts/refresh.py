"""The rule of refresh tokens: each is spent once, and a spent one that returns betrays a theft."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is known of a refresh token. Its successor is set when it is spent."""

    id: UUID
    family: UUID  # the id of the login's first token, from which all the others descend
    user_id: int
    issued_at: datetime
    expires_at: datetime
    spent_at: datetime | None
    successor: UUID | None
    revoked_at: datetime | None


class Verdict(Enum):
    ROTATE = "spend it and give out its successor"
    REPEAT = "give out the same successor again"
    REFUSE = "give out nothing"
    REVOKE_FAMILY = "give out nothing, and let none of its family be used again"


def judge(token: StoredToken | None, now: datetime, retry_window: timedelta) -> Verdict:
    """What to do with a refresh token whose signature holds.

    A spent token that comes back within the retry window is a client whose answer was lost. Later,
    two parties hold it, and nobody can tell which of them is the thief: both have to sign in again.

    Args:
        token: what is stored, or None for a token that was never given out.
        now: aware.
        retry_window: how long after being spent a token may be shown again.
    """
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return Verdict.REFUSE
    if token.spent_at is None:
        return Verdict.ROTATE
    if now - token.spent_at <= retry_window:
        return Verdict.REPEAT
    return Verdict.REVOKE_FAMILY
