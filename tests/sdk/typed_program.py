"""What a type checker knows of a program with both clients: test_package.py checks it."""

from collections.abc import AsyncIterator, Coroutine, Iterator
from decimal import Decimal
from types import CoroutineType
from typing import Any, assert_type

from eventify_client import AsyncClient, Client, KeyFile
from eventify_client.flow import both
from eventify_client.models import Entry, Purchase


def in_threads(client: Client) -> None:
    with KeyFile("purchase.key") as key:
        bought = client.purchases.buy({1: 2}, key=key, wait_for_sale=True)
        assert_type(bought, Purchase)
    client.purchases.buy([(1, 2)], key=lambda record: record, on_position=print)
    paid: dict[str, Any] = {"payment_reference": "p", "currency": "EUR"}
    assert_type(client.purchases.confirm("p-1", amount=Decimal(1), **paid), Purchase)
    assert_type(client.purchases.list(), Iterator[Purchase])
    assert_type(client.events.feed(1), Iterator[Entry])
    assert_type(client.events.create(title="t"), dict[str, Any])
    client.purchases.buy({1: "2"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    client.purchases.buy({1: 2}, kye="k")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def in_tasks() -> None:
    async with AsyncClient(base_url="http://api", token="t") as client:
        assert_type(client, AsyncClient)
        assert_type(await client.purchases.buy({1: 2}, key="k"), Purchase)
        assert_type(client.purchases.list(), AsyncIterator[Purchase])
        assert_type(client.events.feed(1), AsyncIterator[Entry])


def as_pyright_has_it(
    flow: "both[[int], CoroutineType[Any, Any, int]]",
) -> "both[[int], Coroutine[Any, Any, int]]":
    return flow
