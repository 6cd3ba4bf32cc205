"""Limits of those who confirm, release, cancel and extend."""

from collections.abc import Mapping

from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from shared.auth.caller import Caller
from shared.config.settings import Settings


class ResolutionLimits:
    """A bucket for all keys of a user, which fits a shop; with a token, as many as purchases."""

    def __init__(self, settings: Settings) -> None:
        of_keys = Rate(settings.resolution_rate_burst, settings.resolution_rate_per_second)
        self._of_keys = UserLimit(settings, "resolutions-with-keys", of_keys)
        self._of_tokens = UserLimit(settings, "resolutions")

    async def draw(self, caller: Caller) -> Mapping[str, str]:
        """Take a token; returns the `RateLimit` headers.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        limit = self._of_tokens if caller.key_id is None else self._of_keys
        return await limit.draw(caller.user_id)

    async def close(self) -> None:
        await self._of_keys.close()
        await self._of_tokens.close()
