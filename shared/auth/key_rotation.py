"""Which key signs, which ones only verify, and until when their tokens are valid. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.auth.keys import KEYS_RELOAD_SECONDS, SIGNS_AFTER_SECONDS, KeyFiles, signing_kid

Use = Literal["signs", "will sign", "verifies"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """`until`, Unix seconds: when a key starts to sign, or when the last token of a key that only
    verifies expires; None if unknown.
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
        longest_token_seconds: the longest lifetime of a token.
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
    """Why this key is still needed, as a clause; None if it can be removed.

    A key that will sign has signed nothing yet.
    """
    (key,) = (state for state in states if state.kid == kid)
    if key.use == "signs":
        return "it signs now; add another key first and wait until that one signs"
    if key.use == "verifies" and key.until is None:
        return "it is unknown when its tokens expire"
    if key.use == "verifies" and key.until is not None and now < key.until:
        return "tokens that it signed may still be in use"
    return None


def is_last_to_sign(states: Sequence[KeyState], kid: str) -> bool:
    """Whether no key could sign without this one."""
    return [state.kid for state in states if state.can_sign] == [kid]


def _last_token_ends(
    key: KeyFiles, keys: Sequence[KeyFiles], longest_token_seconds: int
) -> float | None:
    # It signed until the first key after it did, which each gateway notices within a reload.
    followed = [each.placed_at for each in keys if each.can_sign and each.kid > key.kid]
    if not followed:
        return None
    return min(followed) + SIGNS_AFTER_SECONDS + KEYS_RELOAD_SECONDS + longest_token_seconds
