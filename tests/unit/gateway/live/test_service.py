"""Which pasts of sales are kept in memory."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from gateway.live import service
from gateway.live.service import Live
from shared.config.settings import Settings
from shared.database.engine import open_engine

pytestmark = pytest.mark.anyio


@pytest.fixture
def live(keys_dir: Path) -> Live:
    settings = Settings(database_url="postgresql://127.0.0.1:1/none", keys_dir=keys_dir)
    return Live(settings, open_engine(settings, "test"))


async def test_a_past_that_nobody_looks_at_is_forgotten(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LEDGER_KEPT_SECONDS", 0.2)
    watched, left = live._ledger(1), live._ledger(2)
    for _ in range(10):
        watched.read_to(0, bool)
        await asyncio.sleep(0.05)
    assert live._ledger(1) is watched
    assert live._ledger(2) is not left
    await asyncio.sleep(0.5)
    assert not live._ledgers


async def test_a_past_that_gives_way_to_others_is_no_longer_in_memory(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LEDGERS_MAX", 3)
    pasts = [weakref.ref(live._ledger(event_id)) for event_id in range(10)]
    gc.collect()
    assert [past() is not None for past in pasts] == [False] * 7 + [True] * 3
