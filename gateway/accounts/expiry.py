"""Deletes refresh tokens and cutoffs that no longer matter, a few at a time, every few minutes."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from gateway.accounts import store
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.observability.logging import get_logger

logger = get_logger(__name__)


def periodic_deletion(settings: Settings, engine: Engine) -> Periodic:
    """Every gateway may run it: each skips the tokens that another has locked."""

    async def delete_all() -> None:
        total = 0
        after: datetime | None = datetime.min.replace(tzinfo=UTC)
        try:
            while after is not None:
                started = time.monotonic()
                deleted, after = await asyncio.to_thread(
                    store.delete_expired, engine, settings.refresh_cleanup_families, after
                )
                total += deleted
                # Where there are millions of them, half of a connection's time is enough.
                await asyncio.sleep(time.monotonic() - started)
            if total:
                logger.info("expired_tokens_deleted", tokens=total)
            longest = max(settings.access_token_seconds, settings.refresh_token_seconds)
            age = timedelta(seconds=longest) + store.KEPT_AFTER_EXPIRY
            await asyncio.to_thread(store.delete_cutoffs, engine, age)
        except Unavailable:
            pass  # was logged where it occurred; the next run starts over

    return Periodic(
        delete_all, settings.refresh_cleanup_seconds, logger, "expired_tokens_not_deleted"
    )
