"""How a flow that is written once becomes a method of both clients."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from eventify_client.drivers import AsyncDriver, SyncDriver
from eventify_client.flow import Deadline, Emit, Flow, Items, Request, Session
from eventify_client.keys import Key, claim, settle
from eventify_client.models import M, decode, decode_all, encode

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
WAIT_SECONDS = 20
DEFAULT: Any = object()  # as long as the client's own timeout


class Resource(Generic[D]):
    def __init__(self, session: Session, driver: D) -> None:
        self._session = session
        self._driver: Any = driver

    def _deadline(self, seconds: float | None) -> Deadline:
        return self._session.deadline(self._session.timeout if seconds is DEFAULT else seconds)

    def _send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        key: Key | None = None,
        if_match: str | None = None,
        wait: int = 0,
    ) -> Flow[Any]:
        """The JSON of the response and its ETag. Each POST has a key, so retries are safe."""
        json = encode(json)
        headers = {} if if_match is None else {"If-Match": if_match}
        if method == "POST":
            headers["Idempotency-Key"] = yield from claim(key, {"url": url, "json": json})
        if wait:
            headers["Prefer"] = f"wait={wait}"
        query = {name: encode(one) for name, one in (params or {}).items() if one is not None}
        request = Request(method=method, url=url, params=query, json=json, headers=headers)
        response = yield from self._session.send(
            request,
            self._deadline(DEFAULT),
            wait_seconds=wait or query.get("wait", 0),
            retry_202=wait > 0,
        )
        settle(key)
        return response.json() if response.content else None, response.headers.get("ETag")

    def _one(self, model: type[M], method: str, url: str, **request: Any) -> Flow[M]:
        data, etag = yield from self._send(method, url, **request)
        return decode(model, data, **({"etag": etag} if hasattr(model, "etag") else {}))

    def _pages(self, model: type[M], url: str, filters: Mapping[str, Any]) -> Items[M]:
        """`next` is followed as it is, whether it counts pages or has a cursor."""
        while url:
            page, _ = yield from self._send("GET", url, params=filters)
            for row in decode_all(model, page["results"]):
                yield Emit(row)
            url, filters = self._session.own(page["next"]) if page["next"] else "", {}


class operation(Generic[P, T]):  # noqa: N801 - a decorator
    """As a method it returns T, or of an async client an awaitable of T."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, of: Resource[SyncDriver], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, of: Resource[AsyncDriver], owner: Any
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, of: Any, owner: Any) -> Any:
        return _method(self.flow, of, "run")


class listing(Generic[P, T]):  # noqa: N801 - a decorator
    """As a method it returns an iterator, or an async one; requests are sent as it is read."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Items[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, of: Resource[SyncDriver], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, of: Resource[AsyncDriver], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, of: Any, owner: Any) -> Any:
        return _method(self.flow, of, "iterate")


def _method(flow: Any, of: Any, drive: str) -> Any:
    @wraps(flow)
    def method(*args: Any, **kwargs: Any) -> Any:
        return getattr(of._driver, drive)(flow(of, *args, **kwargs))

    return flow if of is None else method
