"""Signs pairs of tokens. The id of the refresh token determines the pair."""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from shared.auth.keys import KEYS_RELOAD_SECONDS, SigningKey, load_signing_key
from shared.auth.tokens import mint
from shared.config.settings import Settings


@dataclass(frozen=True, slots=True)
class SignedPair:
    access: str
    refresh: str


class PairSigner:
    """Signs with the current key, which it reloads as often as the verifiers do.

    So a key that was removed signs no longer than it verifies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = load_signing_key(settings.keys_dir)
        self._key_chosen_at = time.monotonic()

    def sign(self, user_id: int, refresh_id: UUID, issued_at: datetime) -> SignedPair:
        """The same arguments give the same bytes while the key is the same.

        Raises:
            ConfigurationError: there is no key, or it cannot be read.
        """
        key, settings, seconds = self._current_key(), self._settings, int(issued_at.timestamp())
        access_id = uuid5(refresh_id, "access")
        return SignedPair(
            access=mint(settings, key, user_id, "access", token_id=access_id, issued_at=seconds),
            refresh=mint(settings, key, user_id, "refresh", token_id=refresh_id, issued_at=seconds),
        )

    def _current_key(self) -> SigningKey:
        now = time.monotonic()
        if now - self._key_chosen_at >= KEYS_RELOAD_SECONDS:
            self._key = load_signing_key(self._settings.keys_dir, known=self._key)
            self._key_chosen_at = now
        return self._key
