"""The rule of refresh tokens: single use, a short window for lost answers, revocation on theft."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gateway.accounts.refresh import RefreshAction, StoredToken, action_for

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=10)
UNSPENT = StoredToken(
    id=UUID(int=2),
    family=UUID(int=1),
    user_id=7,
    issued_at=NOW - timedelta(hours=1),
    expires_at=NOW + timedelta(hours=23),
    spent_at=None,
    successor=None,
    revoked_at=None,
)


def spent(seconds_ago: float) -> StoredToken:
    return replace(UNSPENT, spent_at=NOW - timedelta(seconds=seconds_ago), successor=UUID(int=3))


def test_an_unspent_token_is_exchanged() -> None:
    assert action_for(UNSPENT, NOW, WINDOW) is RefreshAction.ROTATE


@pytest.mark.parametrize("seconds_ago", [-0.5, 0, 9.99, 10])
def test_a_spent_token_gives_the_same_successor_within_the_retry_window(seconds_ago: float) -> None:
    assert action_for(spent(seconds_ago), NOW, WINDOW) is RefreshAction.REPEAT


# -3600: the clock was ahead when it was spent.
@pytest.mark.parametrize("seconds_ago", [10.001, 3600, -3600])
def test_a_spent_token_that_returns_later_revokes_its_family(seconds_ago: float) -> None:
    assert action_for(spent(seconds_ago), NOW, WINDOW) is RefreshAction.REVOKE_FAMILY


def test_a_token_that_was_never_issued_is_invalid() -> None:
    assert action_for(None, NOW, WINDOW) is RefreshAction.INVALID


@pytest.mark.parametrize("token", [UNSPENT, spent(1), spent(3600)])
def test_a_revoked_token_is_invalid(token: StoredToken) -> None:
    assert action_for(replace(token, revoked_at=NOW), NOW, WINDOW) is RefreshAction.INVALID


@pytest.mark.parametrize("token", [UNSPENT, spent(1), spent(3600)])
def test_an_expired_token_is_invalid(token: StoredToken) -> None:
    assert action_for(replace(token, expires_at=NOW), NOW, WINDOW) is RefreshAction.INVALID
