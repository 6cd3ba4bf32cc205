"""Turns: of each key only some at a time, and only some waiting."""

import asyncio
import time

import pytest

from shared.concurrency.keyed_limit import Turns
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio


async def test_a_turn_is_one_at_a_time_with_a_gap() -> None:
    turns = Turns(1, waiting_max=10, wait_seconds=20, gap_seconds=0.02)
    ends = [float("-inf")]

    async def take() -> None:
        async with turns.of("row"):
            assert time.monotonic() - ends[-1] >= 0.019
            await asyncio.sleep(0)
            ends.append(time.monotonic())

    await asyncio.gather(*(take() for _ in range(5)))
    await take()  # alone, and yet right after the last one
    assert len(ends) == 7


async def test_turns_of_other_keys_wait_for_nothing_and_keys_are_forgotten() -> None:
    turns = Turns(1, waiting_max=0, wait_seconds=20)
    async with turns.of(1), turns.of(2):
        with pytest.raises(Unavailable):
            async with turns.of(1):
                pass
    async with turns.of(1):
        pass
    assert not turns._queues


async def test_a_turn_that_does_not_come_is_unavailable() -> None:
    turns = Turns(2, waiting_max=1, wait_seconds=0.05)
    async with turns.of(1), turns.of(1):
        with pytest.raises(Unavailable):
            async with turns.of(1):
                pass
