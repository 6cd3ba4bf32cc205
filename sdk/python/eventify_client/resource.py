"""How a flow becomes a method of both clients: it is a coroutine, which a Client runs at once."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from eventify_client.drivers import AsyncDriver, Request, SyncDriver, run
from eventify_client.flow import Deadline, Session
from eventify_client.keys import Key, claim, settle
from eventify_client.models import M, decode, decode_all, encode

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
WAIT_SECONDS = 20
DEFAULT: Any = object()  # the client's own timeout


class Resource(Generic[D]):
    def __init__(self, session: Session, _driver: D) -> None:
        self._session = session

    def _deadline(self, seconds: float | None) -> Deadline:
        seconds = self._session.timeout if seconds is DEFAULT else seconds
        return Deadline(seconds, self._session.clock)

    async def _send(
        self, method: str, url: str, *, params: Mapping[str, Any] | None = None, json: Any = None,
        key: Key | None = None, if_match: str | None = None, wait: int = 0
    ) -> tuple[Any, str | None]:  # fmt: skip
        """The JSON of the response and its ETag. Each POST has a key, so retries are safe."""
        json, headers = encode(json), {} if if_match is None else {"If-Match": if_match}
        if method == "POST":
            body = {"url": url, "json": json}
            headers["Idempotency-Key"] = await claim(self._session.driver, key, body)
            headers |= {"Prefer": f"wait={wait}"} if wait else {}
        query = {name: encode(one) for name, one in (params or {}).items() if one is not None}
        request = Request(method=method, url=url, params=query, json=json, headers=headers)
        deadline = self._deadline(DEFAULT)
        response = await self._session.send(request, deadline, wait, retry_202=wait > 0)
        settle(key)
        return response.json() if response.content else None, response.headers.get("ETag")

    async def _one(self, model: type[M], method: str, url: str, **request: Any) -> M:
        data, etag = await self._send(method, url, **request)
        return decode(model, data, **({"etag": etag} if hasattr(model, "etag") else {}))

    async def _pages(
        self, model: type[M], url: str, filters: Mapping[str, Any]
    ) -> AsyncIterator[M]:
        """By cursor: no row comes twice or is missed because others come and go."""
        filters = {"cursor": "", **filters}
        while url:
            page, _ = await self._send("GET", url, params=filters)
            for row in decode_all(model, page["results"]):
                yield row
            url, filters = self._session.own(page["next"]) if page["next"] else "", {}


class operation(Generic[P, T]):  # noqa: N801 - a decorator
    """As a method it returns T, or of an async client an awaitable of T."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self.flow = flow

    @overload
    def __get__(self, of: Resource[SyncDriver], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, of: Resource[AsyncDriver], owner: Any
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, of: Any, owner: Any) -> Any:
        return _method(self.flow, of, run)


class listing(Generic[P, T]):  # noqa: N801 - a decorator
    """As a method it returns an iterator, or an async one; requests are sent as it is read."""

    def __init__(self, flow: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> None:
        self.flow = flow

    @overload
    def __get__(self, of: Resource[SyncDriver], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, of: Resource[AsyncDriver], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, of: Any, owner: Any) -> Any:
        return _method(self.flow, of, _iterate)


def _method(flow: Any, of: Any, drive: Callable[[Any], Any]) -> Any:
    @wraps(flow)
    def at_once(*args: Any, **kwargs: Any) -> Any:
        return drive(flow(of, *args, **kwargs))

    if of is None:
        return flow
    return at_once if isinstance(of._session.driver, SyncDriver) else flow.__get__(of)


def _iterate(items: AsyncIterator[T]) -> Iterator[T]:
    with suppress(StopAsyncIteration):
        while True:
            yield run(anext(items))  # type: ignore[arg-type]
