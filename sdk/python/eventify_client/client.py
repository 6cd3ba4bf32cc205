"""The two clients."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Generic, Self, TypedDict, Unpack, cast

import httpx2

from eventify_client.drivers import AsyncDriver, Driver, SyncDriver
from eventify_client.flow import Session
from eventify_client.operations import Events, Purchases, Raw, Sales, TicketTypes
from eventify_client.resource import D


class Options(TypedDict, total=False):
    """How a client signs in, and for how long it tries.

    `username` and `password`; or `token`, an access token, an API key (`evk_...`), or a function
    that returns one and is called again at a 401. `timeout`: seconds for a whole call with its
    retries; None: as long as it takes. `try_timeout`: for one try.
    """

    username: str
    password: str
    token: str | Callable[[], str | Awaitable[str]]
    timeout: float | None
    try_timeout: float


class _Api(Generic[D]):
    def __init__(self, base_url: str, driver: D, lock: Any, options: Options) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"The address {base_url!r} has to begin with http:// or https://.")
        settings: dict[str, Any] = dict(options)
        if callable(options.get("token")):
            settings["source"] = settings.pop("token")
        session = Session(base_url=base_url, driver=cast("Driver", driver), lock=lock, **settings)
        self.purchases = Purchases(session, driver)
        self.events = Events(session, driver)
        self.ticket_types = TicketTypes(session, driver)
        self.sales = Sales(session, driver)
        self.raw = Raw(session, driver)


class Client(_Api[SyncDriver]):
    """For any number of threads. Args: the address of the API, and an httpx2.Client of yours."""

    def __init__(
        self, base_url: str, *, http: httpx2.Client | None = None, **options: Unpack[Options]
    ) -> None:
        self._http = http or httpx2.Client(**_settings())
        super().__init__(base_url, SyncDriver(self._http), threading.Lock(), options)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Api[AsyncDriver]):
    """For any number of tasks of one event loop of asyncio."""

    def __init__(
        self, base_url: str, *, http: httpx2.AsyncClient | None = None, **options: Unpack[Options]
    ) -> None:
        self._http = http or httpx2.AsyncClient(**_settings())
        super().__init__(base_url, AsyncDriver(self._http), asyncio.Lock(), options)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """It takes 20 ms to make one, so all clients share it."""
    return httpx2.create_ssl_context()


def _settings() -> dict[str, Any]:
    return {
        "verify": _tls(),
        "headers": {"User-Agent": "eventify-client"},
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=100),
    }
