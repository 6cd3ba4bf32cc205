"""Deletes refresh tokens that can no longer be used, a few at a time, every few minutes."""

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
        except Unavailable:
            pass  # was logged where it occurred; the next run starts over

    return Periodic(
        delete_all, settings.refresh_cleanup_seconds, logger, "expired_tokens_not_deleted"
    )
