"""Flows: requests with retries, as coroutines. Those of a Client never suspend, so it runs them."""

import asyncio
import inspect
import math
import random
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import httpx2
import msgspec

from eventify_client import errors
from eventify_client.keys import Key, claim, settle
from eventify_client.models import PENDING, T, TokenPair

Http = TypeVar("Http", bound=httpx2.Client | httpx2.AsyncClient)
P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 0.25, 20.0
JITTER_MAX_SECONDS = 1.0  # added to `Retry-After`, so that not all come back at the same moment
CONNECT_SECONDS, SERVER_ERRORS_MAX = 5.0, 3
RETRIED, UNKNOWN = (408, 429, 500, 502, 503, 504), (500, 502, 503, 504)
DEFAULT: Any = object()


@dataclass(kw_only=True, repr=False, eq=False)
class Session(Generic[Http]):
    """How a client signs in, and for how long it tries.

    `token`: an access token, an API key (`evk_...`), or a function that returns one and is called
    again at a 401. `timeout`: seconds for a whole call with its retries; None: as long as it takes.
    `try_timeout`: for one try, without its wait.
    """

    base_url: str = field(kw_only=False)
    username: str | None = None
    password: str | None = None
    token: str | Callable[[], str | Awaitable[str]] | None = None
    timeout: float | None = 120.0
    try_timeout: float = 10.0
    http: Http

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"{self.base_url!r} has to begin with http:// or https://.")
        self._is_async = isinstance(self.http, httpx2.AsyncClient)
        self._clock, self._random = time.monotonic, random.random
        self._access = None if callable(self.token) else self.token
        self._refresh, self._renewal = "", threading.Lock()

    async def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        return await result if inspect.isawaitable(result) else result

    async def _call_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        beside = (asyncio.to_thread,) if self._is_async else ()  # beside the event loop
        result = await self._call(*beside, function, *args)
        return await result if inspect.isawaitable(result) else result

    async def _parts(self, stream: httpx2.Response, deadline: float) -> AsyncGenerator[bytes, None]:
        """Until the deadline: httpx2's own timeouts begin again with each part."""
        parts: Any = stream.aiter_bytes() if self._is_async else stream.iter_bytes()
        try:
            while part := await self._call(anext if self._is_async else next, parts, b""):
                yield part
                if not self._left(deadline):
                    raise errors.NoResponse("The response came too slowly.")
        finally:
            await self._call(stream.aclose if self._is_async else stream.close)

    async def _sleep(self, seconds: float) -> None:
        await self._call(asyncio.sleep if self._is_async else time.sleep, seconds)

    def _url(self, url: str) -> str:
        """A link of the server's at the address that we use: a token goes nowhere else."""
        path = re.sub(r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^?#]*(?=/api/)|[^/?#]*)", "", url)
        return self.base_url.rstrip("/") + "/" + path.removeprefix("/")

    def _deadline(self, seconds: float | None) -> float:
        seconds = self.timeout if seconds is DEFAULT else seconds
        return math.inf if seconds is None else self._clock() + seconds

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock())

    async def _send(  # noqa: PLR0913 - by keyword
        self, method: str, url: str, model: type[T], *, deadline: float | None = None,
        key: Key | None = None, wait: int = 0, until_decided: bool = False, sign_in: bool = True,
        retry_codes: tuple[str, ...] = ("not_decided",), json: Any = None, **content: Any
    ) -> T:  # fmt: skip
        """The first success, with retries as in the table of docs/api.md ("Retry safely").

        `until_decided`: a pending purchase is asked for again. `retry_codes`: of errors that pass.
        """
        deadline = self._deadline(self.timeout) if deadline is None else deadline
        method, json = method.upper(), msgspec.to_builtins(json)
        if method == "POST" and sign_in:  # with a key, its retries are safe
            claimed = await claim(self._call_blocking, key, {"url": url, "json": json})
            content["headers"] = {"Idempotency-Key": claimed, "Prefer": f"wait={wait}"}
        request = self.http.build_request(method, self._url(url), json=json, **content)
        error: errors.EventifyError
        unknown, renewed, failures, attempt = False, False, 0, 0
        while True:
            token = await self._token(deadline, None) if sign_in else None
            try:
                answer = await self._try(request, token, wait, deadline, model, until_decided)
            except errors.NoResponse as lost:
                error, unknown = lost, True
            except errors.APIError as problem:
                error, status = problem, problem.status
                if status == 401 and token and not renewed:
                    renewed = True
                    if await self._token(deadline, rejected=token) != token:
                        continue
                failures += status == 500
                passes = problem.code in retry_codes and problem.purchase_id is None
                if model is httpx2.Response and isinstance(problem, errors.Unavailable):
                    raise  # a stream is refused: `_streamed` polls
                if not (passes or status in RETRIED) or failures > SERVER_ERRORS_MAX:
                    settle(key if problem.purchase_id else None, problem)
                    raise
                unknown |= status in UNKNOWN or problem.code == "not_decided"
            else:
                settle(key, answer)
                return answer
            renewed = False
            await self._pause(error, attempt, deadline, unknown)
            attempt += 1

    async def _try(
        self, request: httpx2.Request, token: str | None, wait: int, deadline: float,
        model: type[T], until_decided: bool
    ) -> T:  # fmt: skip
        if token := (token or "").strip():  # the end of the line of a file
            if not (token.isascii() and token.isprintable()):  # httpx2's own error shows it
                raise ValueError("The token is not printable ASCII.")
            request.headers["Authorization"] = f"Bearer {token}"
        seconds = min(wait + self.try_timeout, self._left(deadline))
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
        request.extensions["timeout"], is_stream = timeout.as_dict(), model is httpx2.Response
        try:
            response = await self._call(self.http.send, request, stream=True)
            if is_stream and response.status_code == 200:
                return response  # type: ignore[no-any-return]
            body = b"".join([part async for part in self._parts(response, deadline)])
        except httpx2.UnsupportedProtocol:  # it never passes
            raise
        except httpx2.RequestError as lost:
            raise errors.NoResponse(f"{type(lost).__name__}: {lost}") from lost
        if response.status_code >= 300:  # a redirect is not followed: it may lead a token elsewhere
            raise errors.error_of(response, body)
        is_empty = response.status_code == 204 or request.method == "HEAD"
        if is_stream or (is_empty and model is dict):
            return response if is_stream else None  # type: ignore[return-value]
        answer = decode(body, model)
        pending = response.status_code == 202 or getattr(answer, "status", "") in PENDING
        if until_decided and pending:
            seconds = errors.seconds_of(response.headers) or 1.0
            raise errors.NoResponse("It is not decided.", retry_after=seconds)
        return answer

    async def _pause(
        self, error: errors.EventifyError, attempt: int, deadline: float, unknown: bool = True
    ) -> None:
        """Until the next try. If that is too late: DeadlineExceeded, or `error` if all is known."""
        longest = min(BACKOFF_SECONDS * 2.0 ** min(attempt, 16), BACKOFF_MAX_SECONDS)
        seconds = longest * self._random()  # exponential, with full jitter
        if error.retry_after is not None:
            seconds = error.retry_after + min(longest, JITTER_MAX_SECONDS) * self._random()
        if seconds >= self._left(deadline):
            text = "The outcome is not known in time; call again, with the same key."
            raise errors.DeadlineExceeded(f"{text} Last: {error}") if unknown else error
        await self._sleep(seconds)

    async def _token(self, deadline: float, rejected: str | None) -> str | None:
        """One other than `rejected`, if there is a way: one call renews it, and the others wait."""
        if self._access == rejected and (callable(self.token) or self.username):
            while not self._renewal.acquire(blocking=False):
                await self._pause(errors.NoResponse("The token is being renewed."), 0, deadline)
            try:
                if self._access == rejected:
                    self._access = await self._renewed(deadline)
            finally:
                self._renewal.release()
        return self._access

    async def _renewed(self, deadline: float) -> str:
        if callable(self.token):
            return str(await self._call(self.token))
        refresh, self._refresh = self._refresh, ""  # good for one use, and its retries
        if refresh:
            with suppress(errors.NotAuthenticated):
                return await self._pair("refresh/", deadline, refresh=refresh)
        return await self._pair("", deadline, username=self.username, password=self.password)

    async def _pair(self, path: str, deadline: float, **body: str | None) -> str:
        options: Any = {"json": body, "deadline": deadline, "sign_in": False}
        pair = await self._send("POST", f"/api/token/{path}", TokenPair, **options)
        self._refresh = pair.refresh
        return pair.access


def decode(body: bytes | str, model: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=model)
    except (ValueError, RecursionError) as error:  # it was cut off, or is another program's
        raise errors.NoResponse(f"The response is not Eventify's: {error}") from None


class Resource(Generic[Http]):
    def __init__(self, client: Session[Http]) -> None:
        self._client = client


class both(Generic[P, R_co]):  # noqa: N801 - a decorator
    """Makes a coroutine, or an async iterator, a method of both clients: a Client runs it."""

    def __init__(self, flow: Callable[Concatenate[Any, P], R_co]) -> None:
        self.flow = flow

    @overload
    def __get__(
        self: "both[P, Coroutine[Any, Any, T]]", of: Resource[httpx2.Client], owner: Any
    ) -> Callable[P, T]: ...
    @overload
    def __get__(
        self: "both[P, AsyncIterator[T]]", of: Resource[httpx2.Client], owner: Any
    ) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, of: Resource[httpx2.AsyncClient], owner: Any) -> Callable[P, R_co]: ...
    def __get__(self, of: Any, owner: Any) -> Any:
        flow: Any = self.flow.__get__(of, owner)

        @wraps(flow)
        def at_once(*args: Any, **options: Any) -> Any:
            result = flow(*args, **options)
            return _run(result) if inspect.iscoroutine(result) else _iterate(result)

        return at_once if of and not of._client._is_async else flow


def _run(flow: Coroutine[Any, Any, T]) -> T:
    try:
        flow.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("A function of an async client was given to a client for threads.")


def _iterate(items: AsyncIterator[T]) -> Iterator[T]:
    with suppress(StopAsyncIteration):
        while True:
            yield _run(anext(items))  # type: ignore[arg-type]
