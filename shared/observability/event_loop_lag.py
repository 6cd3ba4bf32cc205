"""Measures the delay of an event loop: what blocks it delays every client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.observability.metrics import EVENT_LOOP_LAG_SECONDS, EVENT_LOOP_TIMESTAMP_SECONDS

MEASURE_SECONDS = 0.25


@asynccontextmanager
async def lag_observed(service: str) -> AsyncIterator[None]:
    """Measure the running loop during the block."""
    watching = asyncio.create_task(_observe(service))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _observe(service: str) -> None:
    observed = EVENT_LOOP_LAG_SECONDS.labels(service)
    fired_at = EVENT_LOOP_TIMESTAMP_SECONDS.labels(service)
    loop = asyncio.get_running_loop()
    while True:
        fired_at.set_to_current_time()
        due = loop.time() + MEASURE_SECONDS
        await asyncio.sleep(MEASURE_SECONDS)
        # A timer may fire a little early.
        observed.observe(max(0.0, loop.time() - due))
