"""The I/O of flows. That for threads is written with `async`, too, but never suspends."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from eventify_client.errors import DeadlineExceeded

T = TypeVar("T")
CONNECT_SECONDS = 5.0
FOREVER_SECONDS = 1e6
BUSY = "Another call still renews the token."


@dataclass(frozen=True, kw_only=True)
class Request:
    """`read_seconds`: how long the server may be silent. `stream`: its body is read by `chunks`."""

    method: str
    url: str
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    read_seconds: float = 0.0
    stream: bool = False

    def build(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        timeout = httpx2.Timeout(self.read_seconds, connect=min(CONNECT_SECONDS, self.read_seconds))
        words: dict[str, Any] = {"params": self.params or None, "json": self.json}
        return http.build_request(
            self.method, self.url, headers=self.headers, timeout=timeout, **words
        )

    def is_read_at_once(self, response: httpx2.Response) -> bool:
        return not (self.stream and response.status_code == 200)


class SyncDriver:
    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    async def send(self, request: Request) -> httpx2.Response:
        response = self._http.send(request.build(self._http), stream=request.stream)
        if request.is_read_at_once(response):
            response.read()
        return response

    async def chunks(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        with suppress(httpx2.RequestError), closing(response):
            for text in response.iter_text():
                yield text

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def call(self, function: Callable[[], Any]) -> Any:
        return function()

    call_blocking = call

    async def acquire(self, lock: Any, seconds: float) -> None:
        if not lock.acquire(timeout=min(seconds, FOREVER_SECONDS)):
            raise DeadlineExceeded(BUSY)


def run(flow: Coroutine[Any, Any, T]) -> T:
    """The result of a flow whose driver never suspends."""
    try:
        flow.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("A function of an async client was given to a client for threads.")


class AsyncDriver:
    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def send(self, request: Request) -> httpx2.Response:
        response = await self._http.send(request.build(self._http), stream=request.stream)
        if request.is_read_at_once(response):
            await response.aread()
        return response

    async def chunks(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        async with aclosing(response):
            with suppress(httpx2.RequestError):
                async for text in response.aiter_text():
                    yield text

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[[], Any]) -> Any:
        result = function()
        return await result if inspect.isawaitable(result) else result

    async def call_blocking(self, function: Callable[[], Any]) -> Any:
        result = await asyncio.to_thread(function)
        return await result if inspect.isawaitable(result) else result

    async def acquire(self, lock: Any, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, FOREVER_SECONDS)):
                await lock.acquire()
        except TimeoutError:
            raise DeadlineExceeded(BUSY) from None


Driver = SyncDriver | AsyncDriver
