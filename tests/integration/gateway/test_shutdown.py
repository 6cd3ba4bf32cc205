"""A process that was asked to stop says so to all who wait, and to the load balancer."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from gateway.health import Readiness
from gateway.shutdown import STOP_SIGNALS, Draining
from shared.config.settings import Settings
from shared.errors import Unavailable


@pytest.fixture
def received_by_server() -> Iterator[list[int]]:
    """What the handlers that were there before, such as the server's, are told."""
    reported: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: reported.append(number))
        for number in STOP_SIGNALS
    }
    yield reported
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_to_stop_wakes_who_waits_and_still_stops_the_server(
    number: signal.Signals, received_by_server: list[int]
) -> None:
    async def stop() -> None:
        draining, reported = Draining(), asyncio.Event()
        draining.watch(reported.set)
        assert not draining.begun
        os.kill(os.getpid(), number)
        await asyncio.wait_for(reported.wait(), timeout=10)
        assert draining.begun

    asyncio.run(stop())
    assert received_by_server == [number]


def test_a_process_that_was_asked_to_stop_is_not_ready(
    settings: Settings, engine: Engine, received_by_server: list[int]
) -> None:
    async def stop() -> None:
        draining, reported = Draining(), asyncio.Event()
        draining.watch(reported.set)
        readiness = Readiness(engine, draining)
        await readiness.check()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(reported.wait(), timeout=10)
        with pytest.raises(Unavailable, match="stopping"):
            await readiness.check()
        readiness.close()

    asyncio.run(stop())
