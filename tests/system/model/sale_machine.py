"""Organises, sells and buys at random, one request after another, beside the pure models."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
)

from tests.system.conftest import Shop
from tests.system.model.answers import agreed, check_refused, check_status
from tests.system.model.catalog import ANY, Catalog, Event, Known, TicketType
from tests.system.model.pages import page_of
from tests.system.model.purchases import Purchase, Purchases
from tests.system.model.refusals import Refusal

EVENTS = "/api/events/"
TICKET_TYPES = "/api/ticket-types/"
PURCHASES = "/api/ticket-purchases/"
WAIT = {"Prefer": "wait=30"}
ALL = {"page_size": 100}
USERS = 3
T = TypeVar("T")


def mostly(right: list[Any], wrong: list[Any]) -> st.SearchStrategy[Any]:
    """A failing run is reduced towards the first value."""
    return st.sampled_from(right * 4 + wrong)


days = [f"2040-06-{day:02}T18:00:00Z" for day in range(1, 7)]
event_fields = {
    "title": mostly(["Aida", "Boheme", "  Carmen ", "Aida in Rome"], [""]),
    "start_time": st.sampled_from(days[:4]),
    "end_time": st.sampled_from([*days[4:], *days[2:4]]),
    "description": st.sampled_from(["", "The opera of Rome", "Carmen sings"]),
}
whole_events = st.fixed_dictionaries(
    {name: event_fields[name] for name in ("title", "start_time", "end_time")},
    optional={"description": event_fields["description"]},
)
some_of_events = st.fixed_dictionaries({}, optional=event_fields)

PAST, LONG_PAST = "2021-01-01T10:00:00Z", "2020-01-01T10:00:00Z"
FUTURE, FAR_FUTURE = "2050-01-01T10:00:00Z", "2060-01-01T10:00:00Z"
ticket_type_limits = {
    "sales_start": mostly([None, LONG_PAST], [FUTURE]),
    "sales_end": mostly([None, FAR_FUTURE], [PAST]),
    "max_per_purchase": mostly([10, 4, 2, 1], [0]),
    "max_per_user": mostly([None, 1, 2, 3, 5], [0]),
}
ticket_type_fields = {
    "name": mostly(["Standing", "Seat", "Box"], [""]),
    "price": mostly(["25.00", "0.10", "99.9", 7, 12.5, 0], ["-1.00", "1.005", "free"]),
    "capacity": mostly([8, 20, 5, 3, 1, 0], [-1]),
}
whole_ticket_types = st.fixed_dictionaries(ticket_type_fields, optional=ticket_type_limits)
some_of_ticket_types = st.fixed_dictionaries({}, optional=ticket_type_fields | ticket_type_limits)
# Types that are on sale, so that every run has something to buy.
sellable = st.fixed_dictionaries(
    {"name": st.just("Standing"), "price": st.just("25.00"), "capacity": st.integers(3, 12)},
    optional={"max_per_user": st.integers(2, 6)},
)

users = st.integers(0, USERS - 1)
# How many users further than the owner: 0 is the owner.
writers = mostly([0], [1])
tags = st.sampled_from([None, "current", "current", "first", ANY, "nonsense"])
page_numbers = st.sampled_from([1, 1, 2, 3])
page_sizes = st.sampled_from([100, 2, 1])


class Order(NamedTuple):
    user: int
    quantity: int
    key: str | None
    waits: bool


orders = st.builds(
    Order,
    user=st.integers(0, USERS - 1),
    quantity=mostly([1, 2, 3, 4], [11, 0, -1]),
    key=st.sampled_from([None, None, "a"]),
    waits=st.sampled_from([True, True, False]),
)


def those_made(*things: T | None) -> MultipleResults:
    """For a bundle: of these what there is."""
    return multiple(*(thing for thing in things if thing is not None))


class SaleMachine(RuleBasedStateMachine):
    """Some users; each organises, and buys from all."""

    events = Bundle("events")
    ticket_types = Bundle("ticket_types")
    purchases = Bundle("purchases")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.catalog = Catalog()
        self.sales = Purchases()
        clients = shop.users(USERS)
        self.clients = {client.get("/api/users/me/").json()["id"]: client for client in clients}
        self.users = list(self.clients)
        # The states that were told with an ETag, oldest first.
        self.tagged: dict[TicketType, dict[str, Mapping[str, Any]]] = {}

    def ask(self, user: int, method: str, path: str, **request: Any) -> httpx.Response:
        return self.clients[user].request(method, path, **request)

    def user_beside(self, owner: int, steps: int) -> int:
        return self.users[(self.users.index(owner) + steps) % USERS]

    # --- events ---

    @rule(target=events, user=users, fields=whole_events)
    def create_event(self, user: int, fields: dict[str, Any]) -> MultipleResults:
        return those_made(self._create_event(self.users[user], fields))

    def _create_event(self, owner: int, fields: dict[str, Any]) -> Event | None:
        answer = self.ask(owner, "POST", EVENTS, json=fields)
        event = agreed(answer, 201, lambda: self.catalog.create_event(owner, fields))
        if event is not None:
            event.id = answer.json()["id"]
            assert answer.headers["Location"] == f"{EVENTS}{event.id}/"
            assert answer.json() == event.view()
        return event

    @rule(event=events, reader=users, page=page_numbers, size=page_sizes)
    def read_event(self, event: Event, reader: int, page: int, size: int) -> None:
        """The event, and the list of its ticket types."""
        user = self.users[reader]
        answer = self.ask(user, "GET", f"{EVENTS}{event.id}/")
        check_status(answer, 200)
        assert answer.json() == event.view()
        listed = self._page(user, TICKET_TYPES, {"event": str(event.id)}, page, size)
        self._check_page(listed, lambda: self.catalog.ticket_types_of(event), page, size)

    @rule(
        event=events,
        steps=writers,
        change=st.tuples(st.just("PUT"), whole_events)
        | st.tuples(st.just("PATCH"), some_of_events),
    )
    def change_event(self, event: Event, steps: int, change: tuple[str, dict[str, Any]]) -> None:
        method, fields = change
        user = self.user_beside(event.owner, steps)
        answer = self.ask(user, method, f"{EVENTS}{event.id}/", json=fields)
        changing = {"PUT": self.catalog.replace_event, "PATCH": self.catalog.change_event}[method]
        if agreed(answer, 200, lambda: changing(user, event, fields)):
            assert answer.json() == event.view()

    @rule(target=events, event=consumes(events), steps=writers)
    def delete_event(self, event: Event, steps: int) -> MultipleResults:
        user = self.user_beside(event.owner, steps)
        address = f"{EVENTS}{event.id}/"
        answer = self.ask(user, "DELETE", address)
        agreed(answer, 204, lambda: self.catalog.delete_event(user, event))
        if not event.deleted:
            return those_made(event)
        for method in ("GET", "PATCH", "DELETE"):
            gone = self.ask(user, method, address, json=None if method == "GET" else {})
            check_refused(gone, Refusal("not_found"))
        return those_made()

    @rule(
        owner=users,
        reader=users,
        page=page_numbers,
        size=page_sizes,
        search=st.sampled_from(["", "aida", "ROME opera", "carmen", "%"]),
        starts_after=st.sampled_from(["", days[0], days[2]]),
        ordering=st.sampled_from(["id", "-id", "start_time", "-start_time", "-end_time"]),
    )
    def list_events(self, owner: int, reader: int, page: int, size: int, **wanted: str) -> None:
        owner, reader = self.users[owner], self.users[reader]
        query = {"owner": "me" if owner == reader else str(owner)}
        query |= {name: value for name, value in wanted.items() if value}
        self._check_page(
            self._page(reader, EVENTS, query, page, size),
            lambda: self.catalog.events_of(owner, **wanted),
            page,
            size,
        )

    # --- ticket types ---

    @initialize(target=ticket_types, first=sellable, second=sellable)
    def put_on_sale(self, first: dict[str, Any], second: dict[str, Any]) -> MultipleResults:
        """Of an event that nobody deletes, so that there is always something to buy."""
        event = self._create_event(
            self.users[0], {"title": "Aida", "start_time": days[0], "end_time": days[1]}
        )
        assert event is not None
        return those_made(*(self._create_ticket_type(event, 0, body) for body in (first, second)))

    @rule(target=ticket_types, event=events, steps=writers, fields=whole_ticket_types)
    def create_ticket_type(
        self, event: Event, steps: int, fields: dict[str, Any]
    ) -> MultipleResults:
        return those_made(self._create_ticket_type(event, steps, fields))

    def _create_ticket_type(
        self, event: Event, steps: int, fields: dict[str, Any]
    ) -> TicketType | None:
        user = self.user_beside(event.owner, steps)
        answer = self.ask(user, "POST", TICKET_TYPES, json={"event": event.id, **fields})
        created = agreed(answer, 201, lambda: self.catalog.create_ticket_type(user, event, fields))
        if created is not None:
            created.id = answer.json()["id"]
            assert answer.headers["Location"] == f"{TICKET_TYPES}{created.id}/"
            self._check_told(answer, created)
        return created

    @rule(ticket_type=ticket_types, user=users, tag=tags)
    def read_ticket_type(self, ticket_type: TicketType, user: int, tag: str | None) -> None:
        value, known = self._tag(ticket_type, tag)
        headers = {"If-None-Match": value} if value else {}
        answer = self.ask(
            self.users[user], "GET", f"{TICKET_TYPES}{ticket_type.id}/", headers=headers
        )
        unchanged = known in (ANY, ticket_type.view())
        status = 304 if unchanged else 200
        if agreed(answer, status, lambda: self.catalog.read_ticket_type(ticket_type)):
            if unchanged:
                assert answer.content == b""
            else:
                self._check_told(answer, ticket_type)

    @rule(
        ticket_type=ticket_types,
        steps=writers,
        elsewhere=st.none() | events,
        change=st.tuples(st.just("PUT"), whole_ticket_types)
        | st.tuples(st.just("PATCH"), some_of_ticket_types),
        tag=tags,
    )
    def change_ticket_type(
        self,
        ticket_type: TicketType,
        steps: int,
        elsewhere: Event | None,
        change: tuple[str, dict[str, Any]],
        tag: str | None,
    ) -> None:
        method, fields = change
        event = elsewhere or (ticket_type.event if method == "PUT" else None)
        changing = {
            "PUT": self.catalog.replace_ticket_type,
            "PATCH": self.catalog.change_ticket_type,
        }[method]
        user = self.user_beside(ticket_type.event.owner, steps)
        headers, known = self._if_match(ticket_type, tag)
        answer = self.ask(
            user,
            method,
            f"{TICKET_TYPES}{ticket_type.id}/",
            json=({"event": event.id} if event else {}) | fields,
            headers=headers,
        )
        if agreed(answer, 200, lambda: changing(user, ticket_type, event, fields, known)):
            self._check_told(answer, ticket_type)

    @rule(
        ticket_type=ticket_types,
        steps=writers,
        change=st.sampled_from([1, 5, -1, -3, -9, 0]),
        tag=tags,
    )
    def change_capacity(
        self, ticket_type: TicketType, steps: int, change: int, tag: str | None
    ) -> None:
        user = self.user_beside(ticket_type.event.owner, steps)
        headers, known = self._if_match(ticket_type, tag)
        answer = self.ask(
            user,
            "POST",
            f"{TICKET_TYPES}{ticket_type.id}/capacity/",
            json={"change": change},
            headers=headers,
        )
        if agreed(
            answer, 200, lambda: self.catalog.change_capacity(user, ticket_type, change, known)
        ):
            self._check_told(answer, ticket_type)

    @rule(target=ticket_types, ticket_type=consumes(ticket_types), steps=writers, tag=tags)
    def delete_ticket_type(
        self, ticket_type: TicketType, steps: int, tag: str | None
    ) -> MultipleResults:
        was_there = not ticket_type.deleted
        user = self.user_beside(ticket_type.event.owner, steps)
        headers, known = self._if_match(ticket_type, tag)
        answer = self.ask(user, "DELETE", f"{TICKET_TYPES}{ticket_type.id}/", headers=headers)
        agreed(answer, 204, lambda: self.catalog.delete_ticket_type(user, ticket_type, known))
        return those_made() if was_there and ticket_type.deleted else those_made(ticket_type)

    def _if_match(
        self, ticket_type: TicketType, wanted: str | None
    ) -> tuple[dict[str, str], Known | None]:
        value, known = self._tag(ticket_type, wanted)
        return ({"If-Match": value} if value else {}), known

    def _tag(self, ticket_type: TicketType, wanted: str | None) -> tuple[str | None, Known | None]:
        """A header's value, and the state that it names."""
        if wanted == "current":
            answer = self.ask(self.users[0], "GET", f"{TICKET_TYPES}{ticket_type.id}/")
            if agreed(answer, 200, lambda: self.catalog.read_ticket_type(ticket_type)):
                self._check_told(answer, ticket_type)
                return answer.headers["ETag"], ticket_type.view()
        if wanted == "first":
            return next(iter(self.tagged[ticket_type].items()))
        if wanted is None:
            return None, None
        return (ANY, ANY) if wanted == ANY else ('"nonsense"', {})

    def _check_told(self, answer: httpx.Response, ticket_type: TicketType) -> None:
        """The state is the model's, and one ETag stands for one state, whenever it was told."""
        view, tag = ticket_type.view(), answer.headers["ETag"]
        assert answer.json() == view
        tagged = self.tagged.setdefault(ticket_type, {})
        assert tagged.setdefault(tag, view) == view
        assert [other for other, state in tagged.items() if state == view] == [tag]

    # --- purchases ---

    @rule(
        target=purchases, ticket_type=ticket_types, orders=st.lists(orders, min_size=1, max_size=4)
    )
    def buy(self, ticket_type: TicketType, orders: list[Order]) -> MultipleResults:
        """Some requests for the same tickets, one after another."""
        return those_made(*(self._buy(ticket_type, order) for order in orders))

    @rule(target=purchases, purchase=purchases, more=mostly([0], [1]), waits=st.booleans())
    def ask_again(self, purchase: Purchase, more: int, waits: bool) -> MultipleResults:
        """A retry where it had a key; else a purchase that is much the same."""
        user, quantity = self.users.index(purchase.user), purchase.quantity + more
        order = Order(user, quantity, purchase.key, waits)
        return those_made(self._buy(purchase.ticket_type, order))

    def _buy(self, ticket_type: TicketType, order: Order) -> Purchase | None:
        """The purchase, if it is a new one."""
        user, quantity, key = self.users[order.user], order.quantity, order.key
        headers = ({"Idempotency-Key": f'"{key}"'} if key else {}) | (WAIT if order.waits else {})
        body = {"ticket_type": ticket_type.id, "quantity": quantity}
        answer = self.ask(user, "POST", PURCHASES, json=body, headers=headers)
        try:
            purchase = self.sales.buy(user, ticket_type, quantity, key)
        except Refusal as refusal:
            check_refused(answer, refusal)
            assert "id" not in answer.json()
            return None
        if purchase.told is not None:
            self._check_replayed(answer, purchase)
            return None
        self._check_bought(answer, purchase, order.waits)
        return purchase

    def _check_replayed(self, answer: httpx.Response, purchase: Purchase) -> None:
        check_status(answer, 200)
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert answer.json() == purchase.told

    def _check_bought(self, answer: httpx.Response, purchase: Purchase, waits: bool) -> None:
        """The answer to a new purchase; then how it is told at its own address from now on."""
        assert "Idempotency-Replayed" not in answer.headers
        queued = {"status": "queued", "reason": None, "decided_at": None, "position": 0}
        if not waits:
            check_status(answer, 202)
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json() == answer.json() | purchase.view() | queued
        elif purchase.reason is not None:
            check_refused(answer, Refusal(purchase.reason))
        else:
            check_status(answer, 201)
        address = f"{PURCHASES}{answer.json()['id']}/"
        assert answer.headers["Location"] == address
        read = self.ask(purchase.user, "GET", address, params={"wait": 30})
        check_status(read, 200)
        purchase.told = read.json()
        known_here = {name: purchase.told[name] for name in ("id", "created_at", "decided_at")}
        assert purchase.told == purchase.view() | known_here
        assert None not in known_here.values()
        if answer.status_code == 201:
            assert answer.json() == purchase.told

    @rule(purchase=purchases, user=users)
    def poll(self, purchase: Purchase, user: int) -> None:
        user = self.users[user]
        address = f"{PURCHASES}{purchase.told['id']}/"
        answer = self.ask(user, "GET", address, params={"wait": 5})
        if agreed(answer, 200, lambda: self.sales.read(user, purchase)):
            assert answer.json() == purchase.told
            tag = {"If-None-Match": answer.headers["ETag"]}
            check_status(self.ask(user, "GET", address, headers=tag), 304)
            for method in ("PUT", "PATCH", "DELETE"):
                refused = self.ask(user, method, address, json={"quantity": 1})
                check_refused(refused, Refusal("method_not_allowed"))

    @rule(
        user=users,
        status=st.sampled_from([None, "confirmed", "rejected"]),
        ticket_type=st.none() | ticket_types,
        page=page_numbers,
        size=page_sizes,
    )
    def list_purchases(
        self,
        user: int,
        status: str | None,
        ticket_type: TicketType | None,
        page: int,
        size: int,
    ) -> None:
        user = self.users[user]
        query = {"status": status} if status else {}
        query |= {"ticket_type": str(ticket_type.id)} if ticket_type else {}
        self._check_page(
            self._page(user, PURCHASES, query, page, size),
            lambda: self.sales.of(user, status=status, ticket_type=ticket_type),
            page,
            size,
        )

    # --- lists ---

    def _page(
        self, user: int, path: str, query: dict[str, str], page: int, size: int
    ) -> httpx.Response:
        return self.ask(user, "GET", path, params=query | {"page": page, "page_size": size})

    def _check_page(
        self,
        answer: httpx.Response,
        foreseen: Callable[[], Sequence[Event | TicketType | Purchase]],
        number: int = 1,
        size: int = 100,
    ) -> None:
        page = agreed(answer, 200, lambda: page_of(foreseen(), number, size))
        if page is None:
            return
        told = answer.json()
        assert told["count"] == page.count
        assert (told["next"] is not None) == page.has_next
        assert (told["previous"] is not None) == page.has_previous
        assert told["results"] == [_told(thing) for thing in page.results]

    def teardown(self) -> None:
        try:
            # Not where a step has failed: model and system have parted then.
            if sys.exc_info()[0] is None:
                self._check_everything()
        finally:
            for client in self.clients.values():
                client.close()

    def _check_everything(self) -> None:
        """At the end of a run all that is stored is what the model says."""
        for user in self.users:
            mine = self._page(user, EVENTS, {"owner": "me"}, 1, 100)
            self._check_page(mine, lambda user=user: self.catalog.events_of(user))
            bought = self._page(user, PURCHASES, {}, 1, 100)
            self._check_page(bought, lambda user=user: self.sales.of(user))
            for event in self.catalog.events_of(user):
                types = self._page(user, TICKET_TYPES, {"event": str(event.id)}, 1, 100)
                self._check_page(types, lambda event=event: self.catalog.ticket_types_of(event))


def _told(thing: Event | TicketType | Purchase) -> Mapping[str, Any] | None:
    return thing.told if isinstance(thing, Purchase) else thing.view()
