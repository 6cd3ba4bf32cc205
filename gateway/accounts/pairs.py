"""Signs pairs of tokens. The id of the refresh token determines the pair."""

import time
from dataclasses import dataclass
from uuid import uuid5

from gateway.accounts.store import IssuedToken
from shared.auth.keys import KEYS_RELOAD_SECONDS, SigningKey, load_signing_key
from shared.auth.tokens import mint
from shared.config.settings import Settings


@dataclass(frozen=True, slots=True)
class SignedPair:
    """Two tokens, and what a page has to know of them."""

    access: str
    refresh: str
    user_id: int
    username: str
    access_expires_at: int  # Unix seconds


class PairSigner:
    """Signs with the current key, which it reloads as often as the verifiers do.

    So a key that was removed signs no longer than it verifies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = load_signing_key(settings.keys_dir)
        self._key_chosen_at = time.monotonic()

    def sign(self, token: IssuedToken) -> SignedPair:
        """The same refresh token gives the same bytes while the key is the same.

        Raises:
            ConfigurationError: there is no key, or it cannot be read.
        """
        key, settings, user_id = self._current_key(), self._settings, token.user_id
        access_id, seconds = uuid5(token.id, "access"), int(token.issued_at.timestamp())
        return SignedPair(
            access=mint(settings, key, user_id, "access", token_id=access_id, issued_at=seconds),
            refresh=mint(settings, key, user_id, "refresh", token_id=token.id, issued_at=seconds),
            user_id=user_id,
            username=token.username,
            access_expires_at=seconds + settings.access_token_seconds,
        )

    def _current_key(self) -> SigningKey:
        now = time.monotonic()
        if now - self._key_chosen_at >= KEYS_RELOAD_SECONDS:
            self._key = load_signing_key(self._settings.keys_dir, known=self._key)
            self._key_chosen_at = now
        return self._key
