"""Organises at random, one request after another, beside the model of the catalog."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

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

from tests.deep.model.answers import agreed, check_refused, check_status
from tests.deep.model.catalog import ANY, Catalog, Event, Known, TicketType
from tests.deep.model.purchases import Purchase
from tests.deep.model.refusals import Refusal
from tests.system.conftest import Shop

EVENTS = "/api/events/"
TICKET_TYPES = "/api/ticket-types/"
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
    "currency": mostly(["EUR", "CHF", "JPY"], ["eur", "EURO", "", "DEM"]),
    "max_per_user": mostly([None, 6, 4, 2], [0]),
}
required_of_event = ("title", "start_time", "end_time")
whole_events = st.fixed_dictionaries(
    {name: event_fields[name] for name in required_of_event},
    optional={name: field for name, field in event_fields.items() if name not in required_of_event},
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
    "price": mostly(["25.00", "0.10", "99.9", "7", "0"], ["-1.00", "1.005", "free", 7, 12.5]),
    "capacity": mostly([8, 20, 5, 3, 1, 0], [-1]),
}
whole_ticket_types = st.fixed_dictionaries(ticket_type_fields, optional=ticket_type_limits)
some_of_ticket_types = st.fixed_dictionaries({}, optional=ticket_type_fields | ticket_type_limits)
# So that every run has something to buy from its beginning, and something that is not on sale.
on_sale = st.fixed_dictionaries(
    {"name": st.just("Standing"), "price": st.just("25.00"), "capacity": st.integers(4, 12)},
    optional={"max_per_user": st.integers(2, 4)},
)
limits_of_event = st.sampled_from([None, 5])
not_on_sale = st.sampled_from([{"sales_start": FUTURE}, {"sales_end": PAST}])

users = st.integers(0, USERS - 1)
# How many users further than the owner: 0 is the owner.
writers = mostly([0], [1])
tags = st.sampled_from([None, None, None, "current", "current", "first", ANY, "nonsense"])
writers_with_tags = st.tuples(writers, tags)
Writer = tuple[int, str | None]
page_numbers = st.sampled_from([1, 1, 2, 3])
page_sizes = st.sampled_from([100, 2, 1])


def those_made(*things: T | None) -> MultipleResults:
    """For a bundle: of these what there is."""
    return multiple(*(thing for thing in things if thing is not None))


def times_of(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.json()[name] for name in ("created_at", "updated_at")}


class CatalogMachine(RuleBasedStateMachine):
    """Some users, each of whom organises. A user is known by the id; rules count them from 0."""

    events = Bundle("events")
    ticket_types = Bundle("ticket_types")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.catalog = Catalog()
        clients = shop.users(USERS)
        self.clients = {client.get("/api/users/me/").json()["id"]: client for client in clients}
        self.users = list(self.clients)
        # The states that were answered with an ETag, oldest first.
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
            event.times = times_of(answer)
            assert answer.json() == event.view()
        return event

    @rule(event=events, reader=users, page=page_numbers, size=page_sizes)
    def read_event(self, event: Event, reader: int, page: int, size: int) -> None:
        """The event, and the list of its ticket types."""
        user = self.users[reader]
        answer = self.ask(user, "GET", f"{EVENTS}{event.id}/")
        check_status(answer, 200)
        assert answer.json() == event.view()
        query = {"event": str(event.id)}
        foreseen = partial(self.catalog.ticket_types_of, event)
        self.check_list(user, TICKET_TYPES, query, foreseen, page, size)

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
            event.times = times_of(answer)
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
        foreseen = partial(self.catalog.events_of, owner, **wanted)
        self.check_list(reader, EVENTS, query, foreseen, page, size)

    # --- ticket types ---

    @initialize(
        target=ticket_types,
        first=on_sale,
        second=on_sale,
        third=not_on_sale,
        limit=limits_of_event,
    )
    def announce(
        self,
        first: dict[str, Any],
        second: dict[str, Any],
        third: dict[str, Any],
        limit: int | None,
    ) -> MultipleResults:
        """Tickets of an event that is never deleted."""
        fields = {"title": "Aida", "start_time": days[0], "end_time": days[1]}
        event = self._create_event(self.users[0], {**fields, "max_per_user": limit})
        assert event is not None
        bodies = (first, second, second | third)
        return those_made(*(self._create_ticket_type(event, 0, body) for body in bodies))

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
            self._check_state(answer, created)
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
                self._check_state(answer, ticket_type)

    @rule(
        ticket_type=ticket_types,
        writer=writers_with_tags,
        elsewhere=st.none() | events,
        change=st.tuples(st.just("PUT"), whole_ticket_types)
        | st.tuples(st.just("PATCH"), some_of_ticket_types),
    )
    def change_ticket_type(
        self,
        ticket_type: TicketType,
        writer: Writer,
        elsewhere: Event | None,
        change: tuple[str, dict[str, Any]],
    ) -> None:
        method, fields = change
        event = elsewhere or (ticket_type.event if method == "PUT" else None)
        body = ({"event": event.id} if event else {}) | fields
        changing = (
            self.catalog.replace_ticket_type if method == "PUT" else self.catalog.change_ticket_type
        )
        self._write(
            ticket_type,
            writer,
            method,
            "",
            lambda user, known, _answer: changing(user, ticket_type, event, fields, known),
            json=body,
        )

    @rule(
        ticket_type=ticket_types,
        writer=writers_with_tags,
        change=st.integers(-3, 5),
        from_none=st.booleans(),
    )
    def change_capacity(
        self, ticket_type: TicketType, writer: Writer, change: int, from_none: bool
    ) -> None:
        """By `change`; or to it, where a negative one is too few."""
        change -= ticket_type.left if from_none else 0
        self._write(
            ticket_type,
            writer,
            "POST",
            "capacity/",
            lambda user, known, _: self.catalog.change_capacity(user, ticket_type, change, known),
            json={"change": change},
        )

    @rule(ticket_type=ticket_types, writer=writers_with_tags)
    def pause(self, ticket_type: TicketType, writer: Writer) -> None:
        def pause(user: int, known: Known | None, answer: httpx.Response) -> TicketType:
            return self.catalog.pause(user, ticket_type, known, answer.json().get("paused_at"))

        self._write(ticket_type, writer, "POST", "pause/", pause)

    @rule(ticket_type=ticket_types, writer=writers_with_tags)
    def resume(self, ticket_type: TicketType, writer: Writer) -> None:
        self._write(
            ticket_type,
            writer,
            "POST",
            "resume/",
            lambda user, known, _answer: self.catalog.resume(user, ticket_type, known),
        )

    @rule(target=ticket_types, ticket_type=consumes(ticket_types), writer=writers_with_tags)
    def delete_ticket_type(self, ticket_type: TicketType, writer: Writer) -> MultipleResults:
        was_there = not ticket_type.deleted
        self._write(
            ticket_type,
            writer,
            "DELETE",
            "",
            lambda user, known, _answer: self.catalog.delete_ticket_type(user, ticket_type, known),
        )
        return those_made() if was_there and ticket_type.deleted else those_made(ticket_type)

    def _write(
        self,
        ticket_type: TicketType,
        writer: Writer,
        method: str,
        action: str,
        foreseen: Callable[[int, Known | None, httpx.Response], TicketType | None],
        json: dict[str, Any] | None = None,
    ) -> None:
        steps, tag = writer
        user = self.user_beside(ticket_type.event.owner, steps)
        value, known = self._tag(ticket_type, tag)
        headers = {"If-Match": value} if value else {}
        address = f"{TICKET_TYPES}{ticket_type.id}/{action}"
        answer = self.ask(user, method, address, json=json, headers=headers)
        status = 204 if method == "DELETE" else 200
        if agreed(answer, status, lambda: foreseen(user, known, answer)):
            self._check_state(answer, ticket_type)

    def _tag(self, ticket_type: TicketType, wanted: str | None) -> tuple[str | None, Known | None]:
        """A header's value, and the state that it names."""
        if wanted == "current":
            answer = self.ask(self.users[0], "GET", f"{TICKET_TYPES}{ticket_type.id}/")
            if agreed(answer, 200, lambda: self.catalog.read_ticket_type(ticket_type)):
                self._check_state(answer, ticket_type)
                return answer.headers["ETag"], ticket_type.view()
        if wanted == "first":
            return next(iter(self.tagged[ticket_type].items()))
        if wanted is None:
            return None, None
        return (ANY, ANY) if wanted == ANY else ('"nonsense"', {})

    def _check_state(self, answer: httpx.Response, ticket_type: TicketType) -> None:
        """The state is the model's, and one ETag stands for one state, in every answer."""
        ticket_type.times = times_of(answer)
        view, tag = ticket_type.view(), answer.headers["ETag"]
        assert answer.json() == view
        tagged = self.tagged.setdefault(ticket_type, {})
        assert tagged.setdefault(tag, view) == view
        assert [other for other, state in tagged.items() if state == view] == [tag]

    # --- lists ---

    def check_list(
        self,
        user: int,
        path: str,
        query: Mapping[str, str],
        foreseen: Callable[[], Sequence[Event | TicketType | Purchase]],
        number: int = 1,
        size: int = 100,
    ) -> None:
        """Ask for one page of a list, and compare it with that of what is foreseen."""
        before, after = (number - 1) * size, number * size

        def page() -> Sequence[Event | TicketType | Purchase]:
            if number > 1 and before >= len(foreseen()):
                raise Refusal("not_found")
            return foreseen()

        answer = self.ask(user, "GET", path, params={**query, "page": number, "page_size": size})
        found = agreed(answer, 200, page)
        if found is not None:
            listed = answer.json()
            assert listed["results"] == [thing.view() for thing in found[before:after]]
            assert listed["count"] == len(found)
            assert (listed["next"] is not None) == (after < len(found))
            assert (listed["previous"] is not None) == (number > 1)

    def teardown(self) -> None:
        try:
            # Not where a step has failed: model and system have parted then.
            if sys.exc_info()[0] is None:
                self.check_everything()
        finally:
            for client in self.clients.values():
                client.close()

    def check_everything(self) -> None:
        """At the end of a run all that is stored is what the model says."""
        for user in self.users:
            owned = partial(self.catalog.events_of, user)
            self.check_list(user, EVENTS, {"owner": "me"}, owned)
            for event in self.catalog.events_of(user):
                query = {"event": str(event.id)}
                foreseen = partial(self.catalog.ticket_types_of, event)
                self.check_list(user, TICKET_TYPES, query, foreseen)
