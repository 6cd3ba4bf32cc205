"""What obeys the commands of flows: in threads, or in tasks of asyncio."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import Any, TypeVar

import httpx2

from eventify_client.errors import DeadlineExceeded
from eventify_client.flow import Acquire, Call, Emit, Flow, Items, NextChunk, Request, Sleep

T = TypeVar("T")
CONNECT_SECONDS = 5.0
FOREVER_SECONDS = 1e6
BUSY = "Another call still renews the token."


class SyncDriver:
    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def run(self, flow: Flow[T]) -> T:
        with closing(self.iterate(_emitting(flow))) as items:
            return next(items)

    def iterate(self, flow: Items[T]) -> Generator[T, None, None]:
        with ExitStack() as stream, closing(flow):
            answer: Any = None
            while (command := _next(flow, answer)) is not None:
                answer = None
                if isinstance(command, Emit):
                    yield command.item
                else:
                    answer = self._obey(command, stream)

    def _obey(self, command: Any, stream: ExitStack) -> Any:
        match command:
            case Sleep(seconds):
                time.sleep(seconds)
            case Call(function):
                return function()
            case Acquire(lock, seconds):
                if not lock.acquire(timeout=min(seconds, FOREVER_SECONDS)):
                    raise DeadlineExceeded(BUSY)
            case _:
                try:
                    return self._transfer(command, stream)
                except httpx2.RequestError as error:
                    return error
        return None

    def _transfer(self, command: Request | NextChunk, stream: ExitStack) -> Any:
        if isinstance(command, NextChunk):
            parts = command.response.extensions
            return next(parts.setdefault("text", command.response.iter_text()), None)
        stream.close()  # the former one
        response = self._http.send(_built(self._http, command), stream=command.stream)
        stream.callback(response.close)
        if not (command.stream and response.status_code == 200):
            response.read()
        return response


class AsyncDriver:
    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def run(self, flow: Flow[T]) -> T:
        async with aclosing(self.iterate(_emitting(flow))) as items:
            return await anext(items)

    async def iterate(self, flow: Items[T]) -> AsyncGenerator[T, None]:
        async with AsyncExitStack() as stream:
            with closing(flow):
                answer: Any = None
                while (command := _next(flow, answer)) is not None:
                    answer = None
                    if isinstance(command, Emit):
                        yield command.item
                    else:
                        answer = await self._obey(command, stream)

    async def _obey(self, command: Any, stream: AsyncExitStack) -> Any:
        match command:
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Call(function, blocks):
                answer = await asyncio.to_thread(function) if blocks else function()
                return await answer if inspect.isawaitable(answer) else answer
            case Acquire(lock, seconds):
                try:
                    async with asyncio.timeout(min(seconds, FOREVER_SECONDS)):
                        await lock.acquire()
                except TimeoutError:
                    raise DeadlineExceeded(BUSY) from None
            case _:
                try:
                    return await self._transfer(command, stream)
                except httpx2.RequestError as error:
                    return error
        return None

    async def _transfer(self, command: Request | NextChunk, stream: AsyncExitStack) -> Any:
        if isinstance(command, NextChunk):
            parts = command.response.extensions
            return await anext(parts.setdefault("text", command.response.aiter_text()), None)
        await stream.aclose()
        response = await self._http.send(_built(self._http, command), stream=command.stream)
        stream.push_async_callback(response.aclose)
        if not (command.stream and response.status_code == 200):
            await response.aread()
        return response


def _built(http: httpx2.Client | httpx2.AsyncClient, request: Request) -> httpx2.Request:
    seconds = request.read_seconds
    return http.build_request(
        request.method,
        request.url,
        params=request.params or None,
        json=request.json,
        headers=request.headers,
        timeout=httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
    )


def _next(flow: Any, answer: Any) -> Any:
    """The next command; None: the flow has ended."""
    try:
        return flow.send(answer)
    except StopIteration:
        return None


def _emitting(flow: Flow[T]) -> Items[T]:
    """What the flow returns, as the only item."""
    yield Emit((yield from flow))
