"""Limits of those who confirm, release, cancel and extend."""

from collections.abc import Mapping
from typing import Final

from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.resolutions.rules import Kind
from shared.auth.caller import Caller
from shared.config.settings import Settings

# Extensions of all events of a user: each is a row for ever, and counts all holds of its event.
EXTENSIONS: Final = Rate(burst=100, per_second=1)


class ResolutionLimits:
    """A bucket for all keys of a user, which fits a shop; with a token, as many as purchases.

    Extensions have one of their own, whose size is fixed.
    """

    def __init__(self, settings: Settings) -> None:
        of_keys = Rate(settings.resolution_rate_burst, settings.resolution_rate_per_second)
        self._of_keys = UserLimit(settings, "resolutions-with-keys", of_keys)
        self._of_tokens = UserLimit(settings, "resolutions")
        self._of_extensions = UserLimit(settings, "extensions", EXTENSIONS)

    async def draw(self, caller: Caller, kind: Kind) -> Mapping[str, str]:
        """Take a token; returns the `RateLimit` headers.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        return await self._limit_of(caller, kind).draw(caller.user_id)

    def _limit_of(self, caller: Caller, kind: Kind) -> UserLimit:
        if kind == "extend":
            return self._of_extensions
        return self._of_tokens if caller.key_id is None else self._of_keys

    async def close(self) -> None:
        await self._of_keys.close()
        await self._of_tokens.close()
        await self._of_extensions.close()
