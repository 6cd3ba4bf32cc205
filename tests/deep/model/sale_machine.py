"""Organises and buys at random, one request after another, beside the models of both."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, rule

from tests.deep.model.answers import agreed, check_refused, check_status
from tests.deep.model.catalog import TicketType
from tests.deep.model.catalog_machine import (
    EVENTS,
    USERS,
    CatalogMachine,
    limits_of_event,
    mostly,
    not_on_sale,
    on_sale,
    page_numbers,
    page_sizes,
    those_made,
    users,
)
from tests.deep.model.purchases import Line, Purchase, Purchases
from tests.deep.model.refusals import Refusal
from tests.system.conftest import Shop

PURCHASES = "/api/ticket-purchases/"
WAITED = "wait=30"
QUEUED = {
    **dict.fromkeys(("reason", "short", "decided_at")),
    "status": "queued",
    "position": 0,
}


class Order(NamedTuple):
    user: int
    key: str | None
    waits: bool
    as_items: bool


orders = st.builds(
    Order,
    user=st.integers(0, USERS - 1),
    key=st.sampled_from([None, None, "a"]),
    waits=st.sampled_from([True, True, False]),
    as_items=st.booleans(),
)
quantities = mostly([1, 2, 3, 4], [11, 0, -1])
amounts_in_carts = mostly([1, 1, 2, 3, 5], [11, 0])


class SaleMachine(CatalogMachine):
    """The users buy as well, each from all."""

    ticket_types = CatalogMachine.ticket_types
    purchases = Bundle("purchases")

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        self.sales = Purchases()

    @initialize(
        target=ticket_types,
        first=on_sale,
        second=on_sale,
        third=not_on_sale,
        limit=limits_of_event,
    )
    def announce(self, **wanted: Any) -> MultipleResults:
        """Of the first type a ticket is sold already: much is otherwise from then on."""
        announced = super().announce(**wanted)
        order = Order(user=1, key=None, waits=True, as_items=False)
        self._buy([Line(announced.values[0], 1)], order)
        return announced

    @rule(
        target=purchases,
        ticket_type=ticket_types,
        orders=st.lists(st.tuples(quantities, orders), min_size=1, max_size=4),
    )
    def buy(self, ticket_type: TicketType, orders: list[tuple[int, Order]]) -> MultipleResults:
        """Some requests for the same tickets, one after another."""
        return those_made(*(self._buy([Line(ticket_type, n)], order) for n, order in orders))

    @rule(
        target=purchases,
        first=ticket_types,
        other=ticket_types,
        of_one_event=mostly([True], [False]),
        amounts=st.lists(amounts_in_carts, min_size=2, max_size=3),
        order=orders,
    )
    def buy_cart(
        self,
        first: TicketType,
        other: TicketType,
        of_one_event: bool,
        amounts: list[int],
        order: Order,
    ) -> MultipleResults:
        of_event = [one for one in self.catalog.ticket_types_of(first.event) if one is not first]
        types = [first, *(of_event if of_one_event else [other])]
        lines = [Line(*line) for line in zip(types, amounts, strict=False)]
        return those_made(self._buy(lines, order))

    @rule(
        target=purchases,
        purchase=purchases,
        more=mostly([0], [1]),
        waits=st.booleans(),
        as_items=st.booleans(),
    )
    def ask_again(
        self, purchase: Purchase, more: int, waits: bool, as_items: bool
    ) -> MultipleResults:
        """A retry where it had a key; else a purchase that is much the same."""
        first, *others = purchase.lines
        lines = [Line(first.ticket_type, first.quantity + more), *others]
        order = Order(self.users.index(purchase.user), purchase.key, waits, as_items)
        return those_made(self._buy(lines, order))

    def _buy(self, lines: Sequence[Line], order: Order) -> Purchase | None:
        """The purchase, if it is a new one."""
        user, key = self.users[order.user], order.key
        as_items = order.as_items or len(lines) > 1
        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        headers |= {"Prefer": WAITED} if order.waits else {}
        items = [{"ticket_type": line.ticket_type.id, "quantity": line.quantity} for line in lines]
        body = {"items": items} if as_items else items[0]
        answer = self.ask(user, "POST", PURCHASES, json=body, headers=headers)
        try:
            purchase = self.sales.buy(user, lines, key, as_items=as_items)
        except Refusal as refusal:
            check_refused(answer, refusal)
            assert "id" not in answer.json()
            return None
        if purchase.read is not None:
            self._check_replayed(answer, purchase, order.waits)
            return None
        self._check_bought(answer, purchase, order.waits)
        return purchase

    def _check_replayed(self, answer: httpx.Response, purchase: Purchase, waits: bool) -> None:
        """As the first try was answered, or would have been with a wait."""
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert answer.headers.get("Preference-Applied") == (WAITED if waits else None)
        assert answer.headers["Location"] == f"{PURCHASES}{purchase.id}/"
        self._check_decided(answer, purchase)
        assert answer.json()["id"] == purchase.id

    def _check_bought(self, answer: httpx.Response, purchase: Purchase, waits: bool) -> None:
        """The answer to a new purchase; then its state at its own address."""
        assert "Idempotency-Replayed" not in answer.headers
        assert answer.headers.get("Preference-Applied") == (WAITED if waits else None)
        if not waits:
            check_status(answer, 202)
            assert answer.json() == answer.json() | purchase.terms() | QUEUED
            assert int(answer.headers["Retry-After"]) >= 1
        else:
            self._check_decided(answer, purchase)
        address = f"{PURCHASES}{answer.json()['id']}/"
        assert answer.headers["Location"] == address
        decided = self.ask(purchase.user, "GET", address, params={"wait": 30})
        check_status(decided, 200)
        purchase.read = decided.json()
        only_reported = {name: purchase.read[name] for name in ("id", "created_at", "decided_at")}
        assert purchase.read == purchase.terms() | only_reported
        assert None not in only_reported.values()
        if answer.status_code == 201:
            assert answer.json() == purchase.view()

    def _check_decided(self, answer: httpx.Response, purchase: Purchase) -> None:
        if purchase.reason is not None:
            check_refused(answer, Refusal(purchase.reason, short=purchase.short))
            return
        check_status(answer, 201)
        if purchase.read is not None:
            assert answer.json() == purchase.view()

    @rule(purchase=purchases, user=users)
    def poll(self, purchase: Purchase, user: int) -> None:
        user = self.users[user]
        address = f"{PURCHASES}{purchase.id}/"
        answer = self.ask(user, "GET", address, params={"wait": 5})
        if agreed(answer, 200, lambda: self.sales.read(user, purchase)):
            assert answer.json() == purchase.view()
            tag = {"If-None-Match": answer.headers["ETag"]}
            check_status(self.ask(user, "GET", address, headers=tag), 304)
            for method in ("PUT", "PATCH", "DELETE"):
                refused = self.ask(user, method, address, json={"quantity": 1})
                check_refused(refused, Refusal("method_not_allowed"))

    @rule(purchase=purchases)
    def delete_the_event_under_it(self, purchase: Purchase) -> None:
        event = purchase.event
        answer = self.ask(event.owner, "DELETE", f"{EVENTS}{event.id}/")
        agreed(answer, 204, lambda: self.catalog.delete_event(event.owner, event))

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
        foreseen = partial(self.sales.of, user, status=status, ticket_type=ticket_type)
        self.check_list(user, PURCHASES, query, foreseen, page, size)

    def check_everything(self) -> None:
        super().check_everything()
        for user in self.users:
            self.check_list(user, PURCHASES, {}, partial(self.sales.of, user))
