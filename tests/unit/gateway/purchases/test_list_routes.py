"""Lists of purchases take the threads of their own users only."""

import asyncio
import threading
from typing import Any, cast

import pytest
from sqlalchemy import create_engine

from gateway.purchases import read
from gateway.purchases.list_routes import PurchaseLists
from gateway.purchases.look_up import PurchaseLookUp
from gateway.purchases.read import Filter
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.web.pagination import PageWanted


def test_one_users_slow_lists_leave_the_others_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def list_of_user(_engine: object, wanted: Filter, *_args: int, **_more: int) -> Any:
        if wanted.user_id == 1:
            go_on.wait(timeout=10)
        return 0, []

    monkeypatch.setattr(read, "list_of_user", list_of_user)
    settings = Settings(database_url="postgresql:///unused", answer_timeout_seconds=0.5)
    page = PageWanted(1, 10, "http://shop/")

    lists = PurchaseLists(settings, create_engine("sqlite://"), cast(PurchaseLookUp, None))

    async def ask() -> None:
        for _ in range(settings.list_threads):
            with pytest.raises(Unavailable):
                await lists.page(Filter(1), page)
        assert (await lists.page(Filter(2), page))["count"] == 0

    try:
        asyncio.run(ask())
    finally:
        go_on.set()
        lists.close()
