"""The operations of the API, each a flow."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from functools import partial
from json import loads
from typing import Any, Unpack
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

from eventify_client import models
from eventify_client.drivers import Request
from eventify_client.errors import APIError, NoResponse, api_error, seconds_of
from eventify_client.flow import Deadline, ServerSentEvents
from eventify_client.keys import Key, claim, settle
from eventify_client.models import Entry, Event, Purchase, Sale, SaleSummary, TicketType, decode
from eventify_client.resource import DEFAULT, WAIT_SECONDS, D, Resource, listing, operation

PURCHASES, EVENTS, TYPES = "/api/ticket-purchases/", "/api/events/", "/api/ticket-types/"
SALE_CODES = ("sale_not_open", "sale_paused", "all_held")
# Ticket types and quantities. The order of a list is part of the purchase, that of a dict is not.
Cart = Mapping[int, int] | Sequence[tuple[int, int]]
PurchaseId = str | UUID
OnPosition = Callable[[Purchase], object]


class Purchases(Resource[D]):
    @operation
    async def buy(
        self, items: Cart, *, key: Key | None = None, buyer: str | None = None,
        wait_for_sale: bool = False, on_position: OnPosition | None = None,
        timeout: float | None = DEFAULT
    ) -> Purchase:  # fmt: skip
        """Buy tickets, all or none; returns when it is decided.

        With the same `key` (a KeyFile, a KeyStore, or a text that you have stored) it is the same
        purchase, however often it is called, also after a crash; it may be `expired` or `cancelled`
        by then. Without a key, only the retries of this call are safe.

        Args:
            buyer: the customer that it is for, with an API key of the event's owner.
            wait_for_sale: wait while the sale is not open or paused, or all that is left is held.
            on_position: is called with the purchase each time that its position changes.
            timeout: seconds in all; None: as long as it takes.

        Raises:
            PurchaseRefused: sold out, for example. With a `purchase_id`, it is final under the key.
            DeadlineExceeded: the outcome is not known. Call again with the same key.
            KeyMismatch: the key is stored for other items.
        """
        deadline = self._deadline(timeout)
        body: dict[str, Any] = {"items": _lines(items)} | ({"buyer": buyer} if buyer else {})
        header = await claim(self._session.driver, key, {"url": PURCHASES, "json": body})
        wait = 0 if on_position else int(min(WAIT_SECONDS, deadline.left()))
        headers = {"Idempotency-Key": header, "Prefer": f"wait={wait}"}
        request = Request(method="POST", url=PURCHASES, json=body, headers=headers)
        codes = SALE_CODES if wait_for_sale else ()
        try:
            response = await self._session.send(request, deadline, wait, retry_codes=codes)
            purchase = decode(Purchase, response.json())
            if purchase.status in ("queued", "waiting"):
                purchase = await self._decided(purchase.id, deadline, on_position)
        except APIError as error:
            if error.purchase_id:
                settle(key, rejection=error)
            raise
        settle(key)
        return purchase

    @operation
    async def wait(
        self, id: PurchaseId, *, on_position: OnPosition | None = None,
        timeout: float | None = DEFAULT
    ) -> Purchase:  # fmt: skip
        """Wait for the decision, by long polling; with `on_position`, by an event stream.

        Raises:
            PurchaseRefused: it was rejected.
            DeadlineExceeded: it is not decided yet.
        """
        return await self._decided(id, self._deadline(timeout), on_position)

    @operation
    async def read(self, id: PurchaseId) -> Purchase:
        return await self._one(Purchase, "GET", _path(id))

    @listing
    def list(self, **filters: Unpack[models.PurchaseFilters]) -> AsyncIterator[Purchase]:
        """Newest first."""
        return self._pages(Purchase, PURCHASES, filters)

    @operation
    async def confirm(
        self, id: PurchaseId, *, payment_reference: str, amount: Decimal, currency: str
    ) -> Purchase:
        """It is paid. The reference makes it safe to repeat. Conflict: void the payment."""
        body = {"payment_reference": payment_reference, "amount": amount, "currency": currency}
        return await self._one(Purchase, "POST", _path(id, "confirm"), json=body, wait=WAIT_SECONDS)

    @operation
    async def release(self, id: PurchaseId) -> Purchase:
        """Give up a hold."""
        return await self._one(Purchase, "POST", _path(id, "release"), json={}, wait=WAIT_SECONDS)

    @operation
    async def cancel(
        self, id: PurchaseId, *, key: Key, items: Cart | None = None, restock: bool = True,
        note: str | None = None
    ) -> Purchase:  # fmt: skip
        """Cancel what is confirmed, or `items` of it; store the key with the refund before."""
        body: dict[str, Any] = {"restock": restock} | ({"note": note} if note else {})
        if items is not None:
            body["items"] = _lines(items)
        url = _path(id, "cancel")
        return await self._one(Purchase, "POST", url, json=body, key=key, wait=WAIT_SECONDS)

    async def _decided(
        self, id: PurchaseId, deadline: Deadline, on_position: OnPosition | None
    ) -> Purchase:
        if on_position is not None:
            purchase = await self._streamed(id, deadline, on_position)
        else:
            purchase = await self._polled(id, deadline)
        if purchase.status == "rejected":  # as the response to the purchase would have been
            body = {"code": purchase.reason, "detail": "It was rejected.", "id": purchase.id}
            raise api_error(400, body | {"short": purchase.raw.get("short")})
        return purchase

    async def _polled(self, id: PurchaseId, deadline: Deadline) -> Purchase:
        while True:
            wait = int(min(WAIT_SECONDS, deadline.left()))
            request = Request(method="GET", url=_path(id), params={"wait": wait})
            response = await self._session.send(request, deadline, wait)
            purchase = decode(Purchase, response.json())
            if purchase.status not in ("queued", "waiting"):
                return purchase
            seconds = seconds_of(response.headers) or 1.0
            await self._session.pause(NoResponse("It is queued.", seconds), 0, deadline)

    async def _streamed(
        self, id: PurchaseId, deadline: Deadline, on_position: OnPosition
    ) -> Purchase:
        events, attempt, driver = ServerSentEvents(), 0, self._session.driver
        while True:
            headers = {"Last-Event-ID": events.id or "none"}
            request = Request(method="GET", url=_path(id, "events"), headers=headers, stream=True)
            response = await self._session.send(request, deadline, WAIT_SECONDS)
            if response.status_code == 204:  # its outcome has come already
                return await self._polled(id, deadline)
            async with aclosing(driver.chunks(response)) as chunks:
                async for text in chunks:
                    for name, data in events.feed(text):
                        if name not in ("position", "outcome"):  # of a later server
                            continue
                        purchase, attempt = decode(Purchase, loads(data)), 0
                        if name == "outcome":
                            return purchase
                        await driver.call(partial(on_position, purchase))
                    deadline.check()
            ended = NoResponse("The stream ended.", events.restart())
            await self._session.pause(ended, attempt, deadline)
            attempt += 1


class Events(Resource[D]):
    @operation
    async def create(
        self, title: str, start_time: datetime, end_time: datetime, *, key: Key | None = None,
        **options: Unpack[models.EventOptions]
    ) -> Event:  # fmt: skip
        body = {"title": title, "start_time": start_time, "end_time": end_time, **options}
        return await self._one(Event, "POST", EVENTS, json=body, key=key)

    @operation
    async def read(self, id: int) -> Event:
        return await self._one(Event, "GET", f"{EVENTS}{id}/")

    @listing
    def list(self, **filters: Unpack[models.EventFilters]) -> AsyncIterator[Event]:
        return self._pages(Event, EVENTS, filters)

    @operation
    async def update(
        self, id: int, *, if_match: str | None = None, **changes: Unpack[models.EventChanges]
    ) -> Event:
        return await self._one(Event, "PATCH", f"{EVENTS}{id}/", json=changes, if_match=if_match)

    @operation
    async def set_notice(self, id: int, text: str) -> Event:
        """What all who wait read; empty: nothing."""
        return await self._one(Event, "PUT", f"{EVENTS}{id}/notice/", json={"text": text})

    @operation
    async def extend_holds(self, id: int, seconds: int, *, key: Key) -> int:
        """Returns how many holds have the time; each extension needs a key of its own."""
        url, body = f"{EVENTS}{id}/extend-holds/", {"seconds": seconds}
        data, _ = await self._send("POST", url, json=body, key=key, wait=WAIT_SECONDS)
        return int(data["extended"])

    @listing
    async def feed(
        self, id: int, position: str | None = None, *, kinds: str | None = None, follow: bool = True
    ) -> AsyncIterator[Entry]:
        """The entries of the ledger after `position`, in order, each once.

        Store `entry.position` with what you make of the entry, in one transaction, and begin there
        after a restart.

        Args:
            kinds: only these, such as `held,confirmed`.
            follow: wait for entries to come, without an end.

        Raises:
            EpochChanged: the database was restored; its documentation says what to do.
        """
        epoch, _, number = (position or "").partition(":")
        url, last, read = f"{EVENTS}{id}/ledger/", int(number or 0), number or "0"
        wait = WAIT_SECONDS if follow else 0
        params = {"after": read, "epoch": epoch or None, "kinds": kinds, "wait": wait or None}
        while True:
            began = self._session.clock()
            page, _ = await self._send("GET", url, params=params, wait=wait)
            for row in page["entries"]:
                if row["number"] > last:
                    last = row["number"]
                    yield decode(Entry, row, position=f"{page['epoch']}:{last}")
            url, before, params = self._session.own(page["next"]), read, {}
            read = parse_qs(urlsplit(url).query).get("after", ["0"])[0]
            if read == before and not follow:
                return
            if read == before and self._session.clock() - began < 1:
                await self._session.driver.sleep(1)


class TicketTypes(Resource[D]):
    @operation
    async def create(
        self, event: int, name: str, price: Decimal, capacity: int, *, key: Key | None = None,
        **options: Unpack[models.TicketTypeOptions]
    ) -> TicketType:  # fmt: skip
        body = {"event": event, "name": name, "price": price, "capacity": capacity, **options}
        return await self._one(TicketType, "POST", TYPES, json=body, key=key)

    @operation
    async def read(self, id: int) -> TicketType:
        return await self._one(TicketType, "GET", f"{TYPES}{id}/")

    @listing
    def list(self, *, event: int | None = None, page_size: int = 100) -> AsyncIterator[TicketType]:
        return self._pages(TicketType, TYPES, {"event": event, "page_size": page_size})

    @operation
    async def update(
        self, id: int, *, if_match: str | None = None, **changes: Unpack[models.TicketTypeChanges]
    ) -> TicketType:
        """After a sale, `capacity` needs the `etag` that you have read as `if_match`."""
        url = f"{TYPES}{id}/"
        return await self._one(TicketType, "PATCH", url, json=changes, if_match=if_match)

    @operation
    async def change_capacity(self, id: int, change: int, *, key: Key | None = None) -> TicketType:
        """Add tickets or (negative) withdraw them, once for each key."""
        url, body = f"{TYPES}{id}/capacity/", {"change": change}
        return await self._one(TicketType, "POST", url, json=body, key=key)

    @operation
    async def pause(self, id: int) -> TicketType:
        return await self._one(TicketType, "POST", f"{TYPES}{id}/pause/")

    @operation
    async def resume(self, id: int) -> TicketType:
        return await self._one(TicketType, "POST", f"{TYPES}{id}/resume/")


class Sales(Resource[D]):
    """Published ones; no token is needed."""

    @operation
    async def read(self, event: int) -> Sale:
        return await self._one(Sale, "GET", f"/api/sales/{event}/")

    @operation
    async def list(self) -> Sequence[SaleSummary]:
        data, _ = await self._send("GET", "/api/sales/")
        return models.decode_all(SaleSummary, data["sales"])


class Raw(Resource[D]):
    @operation
    async def request(
        self, method: str, path: str, params: Any = None, json: Any = None, key: Key | None = None
    ) -> Any:
        """The JSON of any other request, with the same retries."""
        data, _ = await self._send(method, path, params=params, json=json, key=key)
        return data


def _path(id: PurchaseId, action: str = "") -> str:
    return f"{PURCHASES}{quote(str(id), safe='')}/{action}{'/' if action else ''}"


def _lines(items: Cart) -> Any:
    lines = sorted(items.items()) if isinstance(items, Mapping) else items
    return [{"ticket_type": id, "quantity": quantity} for id, quantity in lines]
