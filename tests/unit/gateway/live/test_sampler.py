"""The end of a sampler, for all who wait for its first sample."""

import asyncio
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest

from gateway.live.event_ledger import EventLedger
from gateway.live.sampler import Sampler
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable


@pytest.mark.anyio
async def test_each_who_waited_has_an_error_of_his_own(keys_dir: Path) -> None:
    settings = Settings(database_url="postgresql://127.0.0.1:1/none", keys_dir=keys_dir)
    engine = open_engine(settings, "test")
    with closing(BoundedExecutor("test", threads=1, waiting_max=1)) as threads:
        sampler = Sampler(engine, threads, 1, EventLedger(engine, 1), Mock())
        with sampler.watched():
            waiting = (sampler.first() for _ in range(2))
            first, second = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    first.headers["RateLimit"] = "of the first"
    assert "RateLimit" not in second.headers
