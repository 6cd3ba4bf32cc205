"""The rule of refresh tokens: each is spent once; using a spent one again reveals a theft."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredToken:
    """The successor is set when the token is spent."""

    id: UUID
    family: UUID  # the id of the login's first token, from which all the others descend
    user_id: int
    issued_at: datetime
    expires_at: datetime
    spent_at: datetime | None
    successor: UUID | None
    revoked_at: datetime | None


class RefreshAction(Enum):
    ROTATE = "spend it and issue its successor"
    REPEAT = "issue the same successor again"
    INVALID = "issue nothing"
    REVOKE_FAMILY = "issue nothing, and revoke every token of its family"


def action_for(token: StoredToken | None, now: datetime, retry_window: timedelta) -> RefreshAction:
    """What to do with a refresh token whose signature is valid.

    A spent token that is sent again within the retry window is from a client whose response was
    lost. Later, two parties have it, and which of them is the thief is unknown: both have to sign
    in again.

    Args:
        token: None for a token that was never issued.
        now: with a time zone.
        retry_window: how long after it was spent a token may be sent again.
    """
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return RefreshAction.INVALID
    if token.spent_at is None:
        return RefreshAction.ROTATE
    if abs(now - token.spent_at) <= retry_window:
        return RefreshAction.REPEAT
    return RefreshAction.REVOKE_FAMILY
