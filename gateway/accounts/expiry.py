"""Deletes refresh tokens and cutoffs that no longer matter, a few at a time, every few minutes."""

import asyncio
import time

from sqlalchemy import Engine

from gateway.accounts import store
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.observability.logging import get_logger

logger = get_logger(__name__)


def periodic_deletion(settings: Settings, engine: Engine) -> Periodic:
    """Every gateway may run it: each skips the families that another has locked."""

    async def delete_all() -> None:
        started = time.monotonic()
        try:
            while deleted := await asyncio.to_thread(
                store.delete_expired, engine, settings.refresh_cleanup_families
            ):
                logger.info("expired_tokens_deleted", tokens=deleted)
                # Where there are millions of them, half of a connection's time is enough.
                await asyncio.sleep(time.monotonic() - started)
                started = time.monotonic()
            longest = max(settings.access_token_seconds, settings.refresh_token_seconds)
            ended = int(time.time()) - longest - int(store.KEPT_AFTER_EXPIRY.total_seconds())
            await asyncio.to_thread(store.delete_cutoffs, engine, ended)
        except Unavailable:
            pass  # was logged where it occurred; the next run starts over

    return Periodic(
        delete_all, settings.refresh_cleanup_seconds, logger, "expired_tokens_not_deleted"
    )
