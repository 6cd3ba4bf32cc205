"""Signs pairs of tokens. A pair is told by its refresh token: the same one gives the same pair."""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from shared.keys import SigningKey, load_signing_key
from shared.settings import Settings
from shared.tokens import mint

# A new key may sign this much later than it was added; by then every service has read it.
KEY_RELOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SignedPair:
    access: str
    refresh: str


class PairSigner:
    """Signs with the newest key of the folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = load_signing_key(settings.keys_dir)
        self._key_loaded_at = time.monotonic()

    def sign(self, user_id: int, refresh_id: UUID, issued_at: datetime) -> SignedPair:
        """The pair of a refresh token: the same arguments give the same bytes."""
        key, settings, seconds = self._newest_key(), self._settings, int(issued_at.timestamp())
        access_id = uuid5(refresh_id, "access")
        return SignedPair(
            access=mint(settings, key, user_id, "access", token_id=access_id, issued_at=seconds),
            refresh=mint(settings, key, user_id, "refresh", token_id=refresh_id, issued_at=seconds),
        )

    def _newest_key(self) -> SigningKey:
        if time.monotonic() - self._key_loaded_at >= KEY_RELOAD_SECONDS:
            self._key = load_signing_key(self._settings.keys_dir)
            self._key_loaded_at = time.monotonic()
        return self._key
