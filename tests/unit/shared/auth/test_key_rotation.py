"""Rotation: which key signs, and how long the one before it is needed."""

import pytest

from shared.auth.key_rotation import KeyState, is_last_to_sign, key_states, reason_to_keep
from shared.auth.keys import KEYS_RELOAD_SECONDS, SIGNS_AFTER_SECONDS, KeyFiles

TOKEN_SECONDS = 86_400
OLD = KeyFiles("1", can_sign=True, placed_at=0.0)
NEW = KeyFiles("2", can_sign=True, placed_at=1_000_000.0)
TAKES_OVER = NEW.placed_at + SIGNS_AFTER_SECONDS
LAST_TOKEN_ENDS = TAKES_OVER + KEYS_RELOAD_SECONDS + TOKEN_SECONDS


def states(*keys: KeyFiles, now: float) -> dict[str, KeyState]:
    return {state.kid: state for state in key_states(keys, now, TOKEN_SECONDS)}


def kept(*keys: KeyFiles, kid: str, now: float) -> str | None:
    return reason_to_keep(key_states(keys, now, TOKEN_SECONDS), kid, now)


def test_a_new_key_signs_when_every_verifier_has_seen_it() -> None:
    before, after = (states(OLD, NEW, now=TAKES_OVER + since) for since in (-1, 1))
    assert (before["1"].use, before["2"].use) == ("signs", "will sign")
    assert before["2"].until == TAKES_OVER
    assert (after["1"].use, after["2"].use) == ("verifies", "signs")


def test_a_key_is_kept_until_its_last_token_has_ended() -> None:
    assert states(OLD, NEW, now=TAKES_OVER + 1)["1"].until == LAST_TOKEN_ENDS
    assert "may still be in use" in str(kept(OLD, NEW, kid="1", now=LAST_TOKEN_ENDS - 1))
    assert kept(OLD, NEW, kid="1", now=LAST_TOKEN_ENDS) is None


def test_of_several_rotations_the_first_ended_a_keys_signing() -> None:
    third = KeyFiles("3", can_sign=True, placed_at=NEW.placed_at + TOKEN_SECONDS)
    after = states(OLD, NEW, third, now=third.placed_at + SIGNS_AFTER_SECONDS)
    assert after["1"].until == LAST_TOKEN_ENDS
    assert after["2"].until == LAST_TOKEN_ENDS + TOKEN_SECONDS


def test_the_key_that_signs_is_kept_and_one_that_has_signed_nothing_is_not() -> None:
    now = TAKES_OVER - 1
    assert "signs now" in str(kept(OLD, NEW, kid="1", now=now))
    assert kept(OLD, NEW, kid="2", now=now) is None


def test_a_key_without_its_private_half_is_kept_when_its_tokens_expiry_is_unknown() -> None:
    stray = KeyFiles("3", can_sign=False, placed_at=NEW.placed_at)
    assert "is unknown" in str(kept(OLD, NEW, stray, kid="3", now=LAST_TOKEN_ENDS))


@pytest.mark.parametrize("kid", ["1", "2"])
def test_the_last_key_that_can_sign_is_known(kid: str) -> None:
    half = KeyFiles("2", can_sign=False, placed_at=NEW.placed_at)
    assert is_last_to_sign(key_states([OLD, half], TAKES_OVER, TOKEN_SECONDS), kid) is (kid == "1")
