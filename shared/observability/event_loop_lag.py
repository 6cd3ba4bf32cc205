"""Watches how late an event loop comes back: what blocks it makes every client wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.observability.metrics import EVENT_LOOP_LAG_SECONDS

LOOK_SECONDS = 0.25


@asynccontextmanager
async def lag_observed(service: str) -> AsyncIterator[None]:
    """Within, the running loop is looked at."""
    watching = asyncio.create_task(_observe(service))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _observe(service: str) -> None:
    observed = EVENT_LOOP_LAG_SECONDS.labels(service)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        # A clock is read a little early at times.
        observed.observe(max(0.0, loop.time() - due))
