"""What many ask for at once is made once, and over and over only so often."""

import asyncio
import time

import pytest

from shared.concurrency.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Costly:
    """Counts its calls; each ends when it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        await self.go_on.wait()
        if number % 2 == 0:
            raise RuntimeError(f"call {number} failed")
        return number


async def test_concurrent_requests_get_the_same_result() -> None:
    costly = Costly()
    shared = SingleFlight(costly, burst=9, per_second=1e-9)
    askers = [asyncio.create_task(shared.get()) for _ in range(100)]
    await asyncio.sleep(0)
    askers[0].cancel()  # it leaves, and the call goes on for the others
    await asyncio.sleep(0)
    costly.go_on.set()
    assert await asyncio.gather(*askers[1:]) == [1] * 99


async def test_a_failure_is_shared_too() -> None:
    costly = Costly()
    costly.go_on.set()
    shared = SingleFlight(costly, burst=9, per_second=1e-9)
    await shared.get()
    failed = await asyncio.gather(*(shared.get() for _ in range(100)), return_exceptions=True)
    assert {str(error) for error in failed} == {"call 2 failed"}
    assert await shared.get() == 3


async def test_after_a_burst_the_last_result_is_given_until_the_next_call_is_due() -> None:
    costly = Costly()
    costly.go_on.set()
    shared = SingleFlight(costly, burst=3, per_second=1.0)
    now = time.monotonic()
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(time, "monotonic", lambda: now)
        assert await results(shared, 6) == [1, None, 3, 3, 3, 3]
        clock.setattr(time, "monotonic", lambda: now + 2)
        assert await results(shared, 4) == [None, 5, 5, 5]
    assert costly.calls == 5


async def test_a_single_request_gets_a_fresh_result() -> None:
    costly = Costly()
    costly.go_on.set()
    shared = SingleFlight(costly, burst=1, per_second=1e-9, alone_after_seconds=0.02)
    now = time.monotonic()
    with pytest.MonkeyPatch.context() as clock:
        for asked_at, result in ((0, 1), (0.01, 1), (0.02, 1), (0.03, 1), (0.06, None), (0.09, 3)):
            clock.setattr(time, "monotonic", lambda asked_at=asked_at: now + asked_at)
            assert await results(shared, 1) == [result]


async def results(shared: SingleFlight[int], count: int) -> list[int | None]:
    """Ask one after the other; None for a failure."""
    seen: list[int | None] = []
    for _ in range(count):
        try:
            seen.append(await shared.get())
        except RuntimeError:
            seen.append(None)
    return seen
