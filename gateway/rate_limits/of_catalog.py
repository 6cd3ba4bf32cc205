"""Limits of one user at lists and at the catalog."""

from collections.abc import Mapping

from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from shared.config.settings import Settings

READING = ("GET", "HEAD")


class CatalogLimits:
    """A bucket for writes and one for lists, the list of purchases included. Rows are free."""

    def __init__(self, settings: Settings) -> None:
        writes = Rate(settings.catalog_write_rate_burst, settings.catalog_write_rate_per_second)
        lists = Rate(settings.list_rate_burst, settings.list_rate_per_second)
        self._writes = UserLimit(settings, "catalog-writes", writes)
        self.lists = UserLimit(settings, "lists", lists)

    async def draw(self, user_id: int, method: str, *, is_list: bool) -> Mapping[str, str]:
        """Take a token; returns the `RateLimit` headers.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        if method not in (*READING, "OPTIONS"):
            return await self._writes.draw(user_id)
        if is_list and method in READING:
            return await self.lists.draw(user_id)
        return {}

    async def close(self) -> None:
        await self._writes.close()
        await self.lists.close()
