"""Which pasts of sales are kept in memory."""

import asyncio
from pathlib import Path

import pytest

from gateway.live import service
from gateway.live.service import Live
from shared.config.settings import Settings
from shared.database.engine import open_engine


@pytest.mark.anyio
async def test_a_past_that_nobody_looks_at_is_forgotten(
    keys_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LEDGER_KEPT_SECONDS", 0.2)
    settings = Settings(database_url="postgresql://127.0.0.1:1/none", keys_dir=keys_dir)
    live = Live(settings, open_engine(settings, "test"))
    watched, left = live._ledger(1), live._ledger(2)
    for _ in range(10):
        watched.read_to(0, bool)
        await asyncio.sleep(0.05)
    assert live._ledger(1) is watched
    assert live._ledger(2) is not left
    await asyncio.sleep(0.5)
    assert not live._ledgers
