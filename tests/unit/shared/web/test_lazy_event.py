import asyncio
from collections.abc import Callable

import pytest

from shared.web.lazy_event import LazyEvent

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("event", [asyncio.Event, LazyEvent])
async def test_it_does_what_an_event_does(event: Callable[[], asyncio.Event]) -> None:
    tried = event()
    assert not tried.is_set()
    waiting = [asyncio.create_task(tried.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    # Who waited when it was set goes on, although it is cleared meanwhile.
    tried.set()
    assert tried.is_set()
    tried.clear()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert not tried.is_set()
    another = asyncio.create_task(tried.wait())
    await asyncio.sleep(0)
    assert not another.done()
    tried.set()
    async with asyncio.timeout(10):
        await another
        await tried.wait()


async def test_it_may_be_set_from_the_start() -> None:
    async with asyncio.timeout(10):
        await LazyEvent(is_set=True).wait()
