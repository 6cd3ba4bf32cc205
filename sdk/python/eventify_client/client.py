"""The two clients, and their operations as flows."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Generic, Self
from urllib.parse import quote

import httpx2
import msgspec

from eventify_client.errors import NoResponse, Unavailable, api_error
from eventify_client.flow import DEFAULT, Http, Resource, Session, both, decode
from eventify_client.keys import Key, settle
from eventify_client.models import PENDING, Delivery, Entry, Ledger, Page, Purchase, T, TokenPair

WAIT_SECONDS = 20
SALE_CODES = ("sale_not_open", "sale_paused", "all_held")
# Ticket types and quantities. The order of a list is part of the purchase, that of a dict is not.
Cart = Mapping[int, int] | Sequence[tuple[int, int]]
Id = int | str
OnPosition = Callable[[Purchase], object]
Row = dict[str, Any]
PURCHASES, ROWS = Page[Purchase], Page[Row]
# Here, because msgspec 0.22 crashes where two threads are the first to decode a type.
DECODERS = [msgspec.json.Decoder(each) for each in (Ledger, Delivery, TokenPair, PURCHASES, ROWS)]
PurchaseEvents = AsyncGenerator[tuple[httpx2.ServerSentEvent, Purchase | None], None]


class Rows(Resource[Http], Generic[Http, T]):
    """docs/api.md names the filters ("Lists"), and for sellers the fields ("Sell tickets")."""

    def __init__(self, client: Session[Http], url: str, row: type[T], page: type[Page[T]]) -> None:
        self._client, self._url, self._row, self._page = client, url, row, page

    def _at(self, id: Id, action: str = "") -> str:
        return f"{self._url}{quote(str(id), safe='')}/{action}"

    @both
    async def read(self, id: Id) -> T:
        return await self._client._send("GET", self._at(id), self._row)

    @both
    async def list(self, /, **filters: Any) -> AsyncIterator[T]:
        """By cursor: no row comes twice or is missed because others come and go."""
        url, params = self._url, msgspec.to_builtins({"cursor": "", **filters})
        while url:
            page = await self._client._send("GET", url, self._page, params=params)
            for row in page.results:
                yield row
            url, params = page.next or "", None


class Collection(Rows[Http, T]):
    @both
    async def create(self, /, *, key: Key | None = None, **fields: Any) -> T:
        return await self._client._send("POST", self._url, self._row, json=fields, key=key)

    @both
    async def update(self, /, id: Id, **changes: Any) -> T:
        return await self._client._send("PATCH", self._at(id), self._row, json=changes)


class Purchases(Rows[Http, Purchase]):
    @both
    async def buy(
        self, items: Cart, *, key: Key | None = None, buyer: str | None = None,
        wait_for_sale: bool = False, on_position: OnPosition | None = None,
        timeout: float | None = DEFAULT
    ) -> Purchase:  # fmt: skip
        """Buy tickets, all or none; returns when it is decided.

        With the same `key` (a KeyFile, a function that stores it, or a text that you have stored)
        it is the same purchase, however often it is called, also after a crash; it may be `expired`
        or `cancelled` by then. Without a key, only the retries of this call are safe.

        Args:
            buyer: the customer that it is for, with an API key of the event's owner.
            wait_for_sale: wait while the sale is not open or paused, or all that is left is held.
            on_position: is called with the purchase when its position changes, or was polled.

        PurchaseRefused with a `purchase_id` is final under the key. At DeadlineExceeded, the
        outcome is not known: call again with the same key.
        """
        wait, deadline = 0 if on_position else WAIT_SECONDS, self._client._deadline(timeout)
        options: Any = {"key": key, "wait": wait, "deadline": deadline}
        options["retry_codes"] = SALE_CODES if wait_for_sale else ()
        options["json"] = {"items": _lines(items)} | ({"buyer": buyer} if buyer else {})
        purchase = await self._client._send("POST", self._url, Purchase, **options)
        if purchase.status in PENDING:
            purchase = await self._decided(purchase.id, deadline, on_position, key)
        return purchase

    @both
    async def wait(
        self, id: Id, *, on_position: OnPosition | None = None, timeout: float | None = DEFAULT
    ) -> Purchase:
        """Wait for the decision, by long polls; with `on_position`, by an event stream or polls."""
        return await self._decided(id, self._client._deadline(timeout), on_position)

    @both
    async def confirm(
        self, id: Id, *, payment_reference: str, amount: Decimal, currency: str
    ) -> Purchase:
        """It is paid; safe to repeat. Conflict: void it, but not if PaymentReferenceUsed."""
        body = {"payment_reference": payment_reference, "currency": currency}
        return await self._decide(id, "confirm/", body | {"amount": format(amount, "f")})

    @both
    async def release(self, id: Id) -> Purchase:
        """Give up a hold."""
        return await self._decide(id, "release/", {})

    @both
    async def cancel(
        self, id: Id, *, key: Key, items: Cart | None = None, restock: bool = True, note: str = ""
    ) -> Purchase:
        """Cancel what is confirmed, or `items` of it; store the key with the refund before."""
        body: Any = {"restock": restock} | ({"note": note} if note else {})
        body |= {} if items is None else {"items": _lines(items)}
        return await self._decide(id, "cancel/", body, key)

    async def _decide(self, id: Id, action: str, body: Any, key: Key | None = None) -> Purchase:
        options: Any = {"json": body, "key": key, "wait": WAIT_SECONDS, "until_decided": True}
        return await self._client._send("POST", self._at(id, action), Purchase, **options)

    async def _decided(
        self, id: Id, deadline: float, on_position: OnPosition | None, key: Key | None = None
    ) -> Purchase:
        purchase = on_position and await self._streamed(id, deadline, on_position)
        if purchase is None:
            options: Any = {"deadline": deadline, "wait": WAIT_SECONDS, "until_decided": True}
            options["params"] = {"wait": WAIT_SECONDS}
            purchase = await self._client._send("GET", self._at(id), Purchase, **options)
        if purchase.status == "rejected":  # as the response to the purchase would have been
            body = {"status": 400, "code": purchase.reason, "id": purchase.id}
            body |= {"detail": "It was rejected.", "short": msgspec.to_builtins(purchase.short)}
            error = api_error(400, body, {})
            settle(key, error)
            raise error
        settle(key, purchase)
        return purchase

    async def _streamed(self, id: Id, deadline: float, on_position: OnPosition) -> Purchase | None:
        """None: the stream is over."""
        client, url, attempt, last_id, retry = self._client, self._at(id), 0, "none", 1000
        options: Any = {"deadline": deadline, "wait": WAIT_SECONDS}
        while True:
            options["headers"] = {"Last-Event-ID": last_id}
            try:
                stream = await client._send("GET", f"{url}events/", httpx2.Response, **options)
            except Unavailable as refused:  # too many clients wait there: it still answers polls
                purchase = await client._send("GET", url, Purchase, deadline=deadline)
                if purchase.status not in PENDING:
                    return purchase
                await client._call(on_position, purchase)
                seconds = max(refused.retry_after or 0, purchase.estimated_wait_seconds or 0)
                ended = NoResponse(str(refused), retry_after=seconds or None)
            else:
                if stream.status_code != 200:  # 204: no more events
                    return None
                async with aclosing(self._events(stream, deadline)) as events:
                    async for event, seen in events:
                        attempt, last_id, retry = 0, event.id or last_id, event.retry or retry
                        if event.event == "outcome":
                            return seen
                        if seen:
                            await client._call(on_position, seen)
                ended = NoResponse("The stream ended.", retry_after=retry / 1000)
            await client._pause(ended, attempt, deadline)
            attempt += 1

    async def _events(self, stream: httpx2.Response, deadline: float) -> PurchaseEvents:
        """Until it ends, for whatever reason: what is cut off or damaged comes again."""
        form: Any = {"Content-Type": "text/event-stream; charset=utf-8-sig"}
        async with aclosing(self._client._parts(stream, deadline)) as parts:
            whole = httpx2.Response(200, headers=form, content=parts, request=stream.request)
            with suppress(httpx2.RequestError, NoResponse):
                async for event in httpx2.EventSource(whole):
                    known = event.event in ("position", "outcome")
                    yield event, decode(event.data, Purchase) if known else None


class Events(Collection[Http, Row]):
    @both
    async def feed(
        self, id: Id, position: str | None = None, *, kinds: str | None = None, follow: bool = True
    ) -> AsyncIterator[Entry]:
        """The entries of the ledger after `position`, in order, each once.

        Store `entry.position` with what you make of the entry, in one transaction, and begin there
        after a restart. At EpochChanged, do what its documentation says. `kinds`: only these, such
        as `held,confirmed`. `follow`: wait for entries to come, without an end.
        """
        epoch, _, read = (position or ":0").partition(":")
        if not read.isdecimal():
            raise ValueError(f"{position!r} is not the `position` of an entry.")
        url, last, wait = self._at(id, "ledger/"), int(read), WAIT_SECONDS if follow else 0
        query = {"after": read, "epoch": epoch, "kinds": kinds, "wait": wait}
        params: Any = {name: value for name, value in query.items() if value}
        while True:
            began = self._client._clock()
            page = await self._client._send("GET", url, Ledger, params=params, wait=wait)
            for entry in page.entries:
                if entry.number > last:
                    last = entry.number
                    yield msgspec.structs.replace(entry, position=f"{page.epoch}:{last}")
            url, before, params = page.next, read, None
            read = httpx2.URL(url).params.get("after", "0")
            if read == before and not follow:
                return
            if read == before and self._client._clock() - began < 1:
                await self._client._sleep(1)


class Raw(Resource[Http]):
    @both
    async def request(
        self, method: str, path: str, params: Any = None, json: Any = None, key: Key | None = None
    ) -> Any:
        """The JSON of any other request, with the same retries."""
        options: Any = {"params": params, "json": json, "key": key, "wait": WAIT_SECONDS}
        return await self._client._send(method, path, dict, **options)


@cache
def _settings() -> dict[str, Any]:
    """It takes 20 ms to make the context of TLS, so all clients share it."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    headers = {"User-Agent": "eventify-client"}
    return {"verify": httpx2.create_ssl_context(), "headers": headers, "limits": limits}


class _Client(Session[Http]):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.purchases = Purchases(self, "/api/ticket-purchases/", Purchase, PURCHASES)
        self.events = Events(self, "/api/events/", Row, ROWS)
        self.ticket_types = Collection(self, "/api/ticket-types/", Row, ROWS)
        self.raw = Raw(self)


@dataclass(kw_only=True, repr=False, eq=False)
class Client(_Client[httpx2.Client]):
    """For any number of threads."""

    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(**_settings()))

    def close(self, *_: object) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    __exit__ = close


@dataclass(kw_only=True, repr=False, eq=False)
class AsyncClient(_Client[httpx2.AsyncClient]):
    """For any number of tasks of one event loop of asyncio."""

    http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(**_settings()))

    async def aclose(self, *_: object) -> None:
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    __aexit__ = aclose


def _lines(items: Cart) -> Any:
    lines = sorted(items.items()) if isinstance(items, Mapping) else items
    return [{"ticket_type": id, "quantity": quantity} for id, quantity in lines]
