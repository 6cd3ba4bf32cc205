"""The operations of the API, each a flow."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypedDict, Unpack
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

from eventify_client import flow, models
from eventify_client.errors import APIError, NoResponse, api_error
from eventify_client.flow import Deadline, Flow, Items
from eventify_client.keys import Key, claim, settle
from eventify_client.models import Entry, Event, Purchase, Sale, SaleSummary, TicketType, decode
from eventify_client.resource import DEFAULT, WAIT_SECONDS, D, Resource, listing, operation

PURCHASES, EVENTS, TYPES = "/api/ticket-purchases/", "/api/events/", "/api/ticket-types/"
SALE_CODES = ("sale_not_open", "sale_paused", "all_held")
# Ticket types and quantities. The order of a list is part of the purchase, that of a dict is not.
Cart = Mapping[int, int] | Sequence[tuple[int, int]]
PurchaseId = str | UUID
OnPosition = Callable[[Purchase], object]


class PurchaseFilters(TypedDict, total=False):
    """`event`: all purchases of an event of yours, instead of your own."""

    event: int
    status: models.PurchaseStatus
    ticket_type: int
    buyer: str
    payment_reference: str
    page_size: int


class EventFilters(TypedDict, total=False):
    """`owner`: an id, or `me`. `ordering`: such as `-start_time`."""

    search: str
    owner: int | str
    starts_after: datetime
    ordering: str
    page_size: int


class Purchases(Resource[D]):
    @operation
    def buy(
        self,
        items: Cart,
        *,
        key: Key | None = None,
        buyer: str | None = None,
        wait_for_sale: bool = False,
        on_position: OnPosition | None = None,
        timeout: float | None = DEFAULT,
    ) -> Flow[Purchase]:
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
        header = yield from claim(key, {"url": PURCHASES, "json": body})
        wait = 0 if on_position else int(min(WAIT_SECONDS, deadline.left()))
        headers = {"Idempotency-Key": header, "Prefer": f"wait={wait}"}
        request = flow.Request(method="POST", url=PURCHASES, json=body, headers=headers)
        try:
            response = yield from self._session.send(
                request,
                deadline,
                wait_seconds=wait,
                retry_codes=SALE_CODES if wait_for_sale else (),
            )
            purchase = decode(Purchase, response.json())
            if purchase.status in ("queued", "waiting"):
                purchase = yield from self._decided(purchase.id, deadline, on_position)
        except APIError as error:
            if error.purchase_id:
                settle(key, rejection=error)
            raise
        settle(key)
        return purchase

    @operation
    def wait(
        self,
        id: PurchaseId,
        *,
        on_position: OnPosition | None = None,
        timeout: float | None = DEFAULT,
    ) -> Flow[Purchase]:
        """Wait for the decision, by long polling; with `on_position`, by an event stream.

        Raises:
            PurchaseRefused: it was rejected.
            DeadlineExceeded: it is not decided yet.
        """
        return self._decided(id, self._deadline(timeout), on_position)

    @operation
    def read(self, id: PurchaseId) -> Flow[Purchase]:
        return self._one(Purchase, "GET", _path(id))

    @listing
    def list(self, **filters: Unpack[PurchaseFilters]) -> Items[Purchase]:
        """Newest first."""
        return self._pages(Purchase, PURCHASES, filters)

    @operation
    def confirm(
        self, id: PurchaseId, *, payment_reference: str, amount: Decimal, currency: str
    ) -> Flow[Purchase]:
        """It is paid. The reference makes it safe to repeat. Conflict: void the payment."""
        body = {"payment_reference": payment_reference, "amount": amount, "currency": currency}
        return self._one(Purchase, "POST", _path(id, "confirm"), json=body, wait=WAIT_SECONDS)

    @operation
    def release(self, id: PurchaseId) -> Flow[Purchase]:
        """Give up a hold."""
        return self._one(Purchase, "POST", _path(id, "release"), json={}, wait=WAIT_SECONDS)

    @operation
    def cancel(
        self,
        id: PurchaseId,
        *,
        key: Key,
        items: Cart | None = None,
        restock: bool = True,
        note: str | None = None,
    ) -> Flow[Purchase]:
        """Cancel what is confirmed, or `items` of it; store the key with the refund before."""
        body: dict[str, Any] = {"restock": restock} | ({"note": note} if note else {})
        if items is not None:
            body["items"] = _lines(items)
        url = _path(id, "cancel")
        return self._one(Purchase, "POST", url, json=body, key=key, wait=WAIT_SECONDS)

    def _decided(
        self, id: PurchaseId, deadline: Deadline, on_position: OnPosition | None
    ) -> Flow[Purchase]:
        if on_position is not None:
            purchase = yield from self._streamed(id, deadline, on_position)
        else:
            purchase = yield from self._polled(id, deadline)
        if purchase.status == "rejected":  # as the response to the purchase would have been
            body = {"code": purchase.reason, "detail": "It was rejected.", "id": purchase.id}
            raise api_error(400, body | {"short": purchase.raw.get("short")})
        return purchase

    def _polled(self, id: PurchaseId, deadline: Deadline) -> Flow[Purchase]:
        while True:
            wait = int(min(WAIT_SECONDS, deadline.left()))
            request = flow.Request(method="GET", url=_path(id), params={"wait": wait})
            response = yield from self._session.send(request, deadline, wait_seconds=wait)
            purchase = decode(Purchase, response.json())
            if purchase.status not in ("queued", "waiting"):
                return purchase
            seconds = float(response.headers.get("Retry-After", 1))
            yield from self._session.pause(NoResponse("It is queued.", seconds), 0, deadline)

    def _streamed(
        self, id: PurchaseId, deadline: Deadline, on_position: OnPosition
    ) -> Flow[Purchase]:
        events, attempt = flow.ServerSentEvents(), 0
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": events.id or "none"}
            request = flow.Request(method="GET", url=_path(id), headers=headers, stream=True)
            response = yield from self._session.send(request, deadline, wait_seconds=WAIT_SECONDS)
            if response.status_code == 204:  # its outcome has come already
                return (yield from self._polled(id, deadline))
            while isinstance(text := (yield flow.NextChunk(response)), str):
                for name, data in events.feed(text):
                    purchase, attempt = decode(Purchase, data), 0
                    if name == "outcome":
                        return purchase
                    yield flow.Call(partial(on_position, purchase))
                deadline.check()
            ended = NoResponse("The stream ended.", events.restart())
            yield from self._session.pause(ended, attempt, deadline)
            attempt += 1


class Events(Resource[D]):
    @operation
    def create(
        self,
        title: str,
        start_time: datetime,
        end_time: datetime,
        *,
        key: Key | None = None,
        **options: Unpack[models.EventOptions],
    ) -> Flow[Event]:
        body = {"title": title, "start_time": start_time, "end_time": end_time, **options}
        return self._one(Event, "POST", EVENTS, json=body, key=key)

    @operation
    def read(self, id: int) -> Flow[Event]:
        return self._one(Event, "GET", f"{EVENTS}{id}/")

    @listing
    def list(self, **filters: Unpack[EventFilters]) -> Items[Event]:
        return self._pages(Event, EVENTS, filters)

    @operation
    def update(
        self, id: int, *, if_match: str | None = None, **changes: Unpack[models.EventChanges]
    ) -> Flow[Event]:
        return self._one(Event, "PATCH", f"{EVENTS}{id}/", json=changes, if_match=if_match)

    @operation
    def set_notice(self, id: int, text: str) -> Flow[Event]:
        """What all who wait read; empty: nothing."""
        return self._one(Event, "PUT", f"{EVENTS}{id}/notice/", json={"text": text})

    @operation
    def extend_holds(self, id: int, seconds: int, *, key: Key) -> Flow[int]:
        """Returns how many holds have the time; each extension needs a key of its own."""
        url, body = f"{EVENTS}{id}/extend-holds/", {"seconds": seconds}
        data, _ = yield from self._send("POST", url, json=body, key=key, wait=WAIT_SECONDS)
        return int(data["extended"])

    @listing
    def feed(
        self, id: int, position: str | None = None, *, kinds: str | None = None, follow: bool = True
    ) -> Items[Entry]:
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
        wait = WAIT_SECONDS if follow else None
        params = {"after": read, "epoch": epoch or None, "kinds": kinds, "wait": wait}
        while True:
            began = self._session.clock()
            page, _ = yield from self._send("GET", url, params=params)
            for row in page["entries"]:
                if row["number"] > last:
                    last = row["number"]
                    yield flow.Emit(decode(Entry, row, position=f"{page['epoch']}:{last}"))
            url, before, params = self._session.own(page["next"]), read, {}
            read = parse_qs(urlsplit(url).query).get("after", ["0"])[0]
            if read == before and not follow:
                return
            if read == before and self._session.clock() - began < 1:
                yield flow.Sleep(1)


class TicketTypes(Resource[D]):
    @operation
    def create(
        self,
        event: int,
        name: str,
        price: Decimal,
        capacity: int,
        *,
        key: Key | None = None,
        **options: Unpack[models.TicketTypeOptions],
    ) -> Flow[TicketType]:
        body = {"event": event, "name": name, "price": price, "capacity": capacity, **options}
        return self._one(TicketType, "POST", TYPES, json=body, key=key)

    @operation
    def read(self, id: int) -> Flow[TicketType]:
        return self._one(TicketType, "GET", f"{TYPES}{id}/")

    @listing
    def list(self, *, event: int | None = None, page_size: int = 100) -> Items[TicketType]:
        return self._pages(TicketType, TYPES, {"event": event, "page_size": page_size})

    @operation
    def update(
        self, id: int, *, if_match: str | None = None, **changes: Unpack[models.TicketTypeChanges]
    ) -> Flow[TicketType]:
        """After a sale, `capacity` needs the `etag` that you have read as `if_match`."""
        return self._one(TicketType, "PATCH", f"{TYPES}{id}/", json=changes, if_match=if_match)

    @operation
    def change_capacity(self, id: int, change: int, *, key: Key | None = None) -> Flow[TicketType]:
        """Add tickets or (negative) withdraw them, once for each key."""
        url, body = f"{TYPES}{id}/capacity/", {"change": change}
        return self._one(TicketType, "POST", url, json=body, key=key)

    @operation
    def pause(self, id: int) -> Flow[TicketType]:
        return self._one(TicketType, "POST", f"{TYPES}{id}/pause/")

    @operation
    def resume(self, id: int) -> Flow[TicketType]:
        return self._one(TicketType, "POST", f"{TYPES}{id}/resume/")


class Sales(Resource[D]):
    """Published ones; no token is needed."""

    @operation
    def read(self, event: int) -> Flow[Sale]:
        return self._one(Sale, "GET", f"/api/sales/{event}/")

    @operation
    def list(self) -> Flow[Sequence[SaleSummary]]:
        data, _ = yield from self._send("GET", "/api/sales/")
        return models.decode_all(SaleSummary, data["sales"])


class Raw(Resource[D]):
    @operation
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        key: Key | None = None,
    ) -> Flow[Any]:
        """The JSON of any other request, with the same retries."""
        data, _ = yield from self._send(method, path, params=params, json=json, key=key)
        return data


def _path(id: PurchaseId, action: str = "") -> str:
    return f"{PURCHASES}{quote(str(id), safe='')}/{action}{'/' if action else ''}"


def _lines(items: Cart) -> Any:
    lines = sorted(items.items()) if isinstance(items, Mapping) else items
    return [{"ticket_type": id, "quantity": quantity} for id, quantity in lines]
