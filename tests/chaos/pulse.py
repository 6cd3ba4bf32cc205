"""Measures how fast gateways answer without PostgreSQL and Redis: how slow the machine is now."""

import asyncio
import time
from contextlib import suppress

from loadtests.client import ClientConnection
from tests.chaos.history import History, Pulse

PULSE_SECONDS = 0.1
GIVES_UP_SECONDS = 5.0


async def feel_pulse(gateway_url: str, history: History, over: asyncio.Event) -> None:
    """Note how long `/healthz` takes, again and again."""
    while not over.is_set():
        # A new connection each time: the kernel gives it to any of the gateways.
        connection = ClientConnection(gateway_url)
        sent_at = time.monotonic()
        with suppress(OSError):  # that one has just ended
            await connection.request(
                "GET", "/healthz", token="none", timeout_seconds=GIVES_UP_SECONDS
            )
            history.pulses.append(Pulse(sent_at, time.monotonic()))
        connection.close()
        await asyncio.sleep(PULSE_SECONDS)
