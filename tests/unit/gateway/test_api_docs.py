"""The files of the docs page, and clients that do not read them."""

import asyncio

import pytest
from starlette.types import Message, Scope

from gateway import api_docs
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio

SCOPE: Scope = {
    "type": "http",
    "method": "GET",
    "path": "/swagger-ui-bundle.js",
    "root_path": "",
    "headers": [],
}


async def receive() -> Message:
    return await asyncio.get_running_loop().create_future()


async def test_clients_that_do_not_read_hold_a_bounded_number_of_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_docs, "SENDING_MAX", 3)
    assets = api_docs.Assets()
    sent: list[Message] = []

    reading = asyncio.Event()

    async def unread(_message: Message) -> None:
        await reading.wait()

    async def read(message: Message) -> None:
        sent.append(message)

    held = [asyncio.create_task(assets(SCOPE, receive, unread)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await assets(SCOPE, receive, read)
    assert not sent
    reading.set()
    await asyncio.gather(*held)
    await assets(SCOPE, receive, read)
    assert sent[0]["status"] == 200
