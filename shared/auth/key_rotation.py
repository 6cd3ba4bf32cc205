"""Which key signs, which only verifies still, and until when tokens of it are about. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.auth.keys import KEYS_RELOAD_SECONDS, SIGNS_AFTER_SECONDS, KeyFiles, signing_kid

Use = Literal["signs", "will sign", "verifies"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """What a key is for; times are Unix seconds.

    `until`: of one that will sign, when it begins to; of one that verifies, when its last token has
    ended, or None where nobody can tell.
    """

    kid: str
    placed_at: float
    can_sign: bool
    use: Use
    until: float | None = None


def key_states(keys: Sequence[KeyFiles], now: float, longest_token_seconds: int) -> list[KeyState]:
    """The state of each key.

    Args:
        keys: the oldest first.
        now: Unix seconds.
        longest_token_seconds: how long a token may be used, a refresh token as a rule.
    """
    signing = signing_kid(keys, now) or ""

    def state(key: KeyFiles) -> KeyState:
        if key.kid == signing:
            return KeyState(key.kid, key.placed_at, key.can_sign, "signs")
        if key.can_sign and key.kid > signing:
            begins = key.placed_at + SIGNS_AFTER_SECONDS
            return KeyState(key.kid, key.placed_at, key.can_sign, "will sign", begins)
        until = _last_token_ends(key, keys, longest_token_seconds)
        return KeyState(key.kid, key.placed_at, key.can_sign, "verifies", until)

    return [state(key) for key in keys]


def reason_to_keep(states: Sequence[KeyState], kid: str, now: float) -> str | None:
    """Whom it would harm to remove this key, in a sentence; None if nobody.

    A key that will sign has signed nothing yet.
    """
    (key,) = (state for state in states if state.kid == kid)
    if key.use == "signs":
        return "it signs now; add another first and wait until that one signs"
    if key.use == "verifies" and key.until is None:
        return "it cannot be told until when its tokens last"
    if key.use == "verifies" and key.until is not None and now < key.until:
        return "tokens that it signed may still be in use"
    return None


def is_last_to_sign(states: Sequence[KeyState], kid: str) -> bool:
    """Whether nobody could sign in any more without this key."""
    return [state.kid for state in states if state.can_sign] == [kid]


def _last_token_ends(
    key: KeyFiles, keys: Sequence[KeyFiles], longest_token_seconds: int
) -> float | None:
    """It signed until the first key after it did; each gateway notices that within a reload."""
    followed = [each.placed_at for each in keys if each.can_sign and each.kid > key.kid]
    if not followed:
        return None
    return min(followed) + SIGNS_AFTER_SECONDS + KEYS_RELOAD_SECONDS + longest_token_seconds
