"""Between the client and the real system: lost connections, half responses, 503, bad tokens."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from uuid import uuid4

import httpx2
import pytest
from eventify_client import AsyncClient, Client, EventifyError, errors

from tests.sdk.conftest import token_of
from tests.support.http_servers import Quiet, serving
from tests.system.conftest import Shop
from tests.system.selling import put_on_sale

PASSWORD = "nine boats at noon"
# What becomes of each request, in turn.
FAULTS = ("lost", "ok", "unavailable", "ok", "half", "ok", "ok", "refused", "ok")


class BadNetwork(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, shop: Shop, *faults: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.shop, self.faults, self.served = shop, faults or ("ok",), 0
        self.paths: list[str] = []
        self.lock = Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def next_fault(self, path: str) -> str:
        with self.lock:
            self.served += 1
            self.paths.append(path)
            return self.faults[(self.served - 1) % len(self.faults)]

    @contextmanager
    def running(self) -> Iterator["BadNetwork"]:
        with serving(self):
            yield self


class Handler(Quiet, BaseHTTPRequestHandler):
    server: BadNetwork

    def serve(self) -> None:
        fault = self.server.next_fault(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "unavailable":
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.end_headers()
        if fault in ("unavailable", "refused"):
            return
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        url = f"{self.server.shop.url}{self.path}"
        with httpx2.Client(verify=False, timeout=40) as client:
            answer = client.request(self.command, url, content=body, headers=headers)
        if fault == "lost":
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name in ("retry-after", "etag", "content-type", "location"):
                self.send_header(name, value)
        if fault == "half":  # without a Content-Length, so that its end is not known
            self.end_headers()
            self.wfile.write(answer.content[: len(answer.content) // 2])
            return
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = serve  # noqa: N815 - the base class's names


def bought_by(token: str, shop: Shop) -> list[str]:
    with Client(shop.url, token=token) as client:
        return sorted(purchase.id for purchase in client.purchases.list())


def test_all_faults_together_buy_once_each(shop: Shop) -> None:
    ticket_type = put_on_sale(shop.user(), 100)
    token = token_of(shop.user())
    with BadNetwork(shop, *FAULTS).running() as network:

        def buy(_number: int) -> str:
            with Client(network.url, token=token) as client:
                return client.purchases.buy({ticket_type: 1}, timeout=60).id

        async def buy_in_tasks() -> list[str]:
            async with AsyncClient(network.url, token=token) as client:
                buying = (
                    client.purchases.buy({ticket_type: 1}, on_position=lambda _: None, timeout=60)
                    for _ in range(10)
                )
                return [one.id for one in await asyncio.gather(*buying)]

        with ThreadPoolExecutor(10) as pool:
            bought = list(pool.map(buy, range(10)))
        bought += asyncio.run(buy_in_tasks())
    assert len(set(bought)) == 20
    assert bought_by(token, shop) == sorted(bought)


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_one_of_many_renews_a_token_that_is_refused(shop: Shop, kind: str) -> None:
    ticket_type = put_on_sale(shop.user(), 100)
    username = f"user-{uuid4()}"
    with Client(shop.url) as nobody:
        body = {"username": username, "password": PASSWORD}
        nobody.raw.request("POST", "/api/users/", json=body)
    mine = {"username": username, "password": PASSWORD}
    with BadNetwork(shop).running() as network:
        if kind == "threads":
            with (
                Client(network.url, **mine, token="a.b.c") as client,
                ThreadPoolExecutor(8) as pool,
            ):
                bought = list(pool.map(lambda _: client.purchases.buy({ticket_type: 1}), range(8)))
        else:

            async def buy_in_tasks() -> list[object]:
                async with AsyncClient(network.url, **mine, token="a.b.c") as client:
                    buying = (client.purchases.buy({ticket_type: 1}) for _ in range(8))
                    return list(await asyncio.gather(*buying))

            bought = asyncio.run(buy_in_tasks())
        assert len(bought) == 8
        assert network.paths.count("/api/token/") == 1
    wrong = mine | {"password": "wrong"}
    with Client(shop.url, **wrong) as client, pytest.raises(errors.NotAuthenticated):
        client.purchases.buy({ticket_type: 1})


def test_a_redirect_is_an_error_and_sends_no_token(shop: Shop) -> None:
    with Client(shop.url, token="secret") as client, pytest.raises(EventifyError, match="308"):
        client.raw.request("GET", "/api/events")
