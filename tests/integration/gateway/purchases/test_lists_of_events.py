"""Lists of an event's purchases for its owner."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

from gateway.purchases import read as purchases
from gateway.purchases.list_by_cursor import list_by_cursor
from gateway.purchases.read import FILTERED_ROWS, Filter, list_of_user
from purchase_worker.drain import drain
from purchase_worker.expiry import queue_due
from shared.config.settings import Settings
from shared.database.engine import cursor_transaction
from shared.web import cursors
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    ignore,
    queue,
    queue_buy,
    queue_many,
    queue_resolution,
    request,
    rows,
    run,
    scalar,
)
from tests.support.gateways import authorization, running_gateway
from tests.support.plans import rows_read
from tests.support.waiting import eventually

LIST = "/api/ticket-purchases/"
# Queries, and which of their parameters is wrong.
WRONG = [
    *((f"event={event}", "event") for event in ("0", "-1", "1.0", "me", "", f"{2**63}", "%00")),
    ("event={event}&page=1", "page"),
    ("event={event}&page_size=0", "page_size"),
    ("event={event}&status=sold", "status"),
    ("event={event}&status=", "status"),
    ("event={event}&ticket_type=-1", "ticket_type"),
    ("event={event}&buyer=", "buyer"),
    ("event={event}&buyer=a%00", "buyer"),
    ("event={event}&payment_reference=", "payment_reference"),
    ("event={event}&payment_reference=pi%00", "payment_reference"),
    ("event={event}&payment_reference=%0A", "payment_reference"),
    (f"event={{event}}&payment_reference={'x' * 256}", "payment_reference"),
    ("payment_reference=pi_1", "payment_reference"),
    ("event={event}&cursor=1", "cursor"),
    ("event={event}&cursor=%00", "cursor"),
    ("event={event}&cursor={unknown}", "cursor"),
    ("event={event}&cursor={other}", "cursor"),
    ("event={event}&status=held&cursor={here}", "cursor"),
    ("cursor={here}", "cursor"),
    ("cursor={others_own}", "cursor"),
    ("page=1&cursor=", "cursor"),
    ("event={event}&page=1&cursor=", "cursor"),
    ("event={event}&event={event}", "event"),
    ("evnet={event}", "evnet"),
    ("event={event}&user=1", "user"),
    ("event={event}&status=%ff", "query"),
]
STATUSES = ("queued", "held", "confirmed", "rejected", "released", "expired", "cancelled")


class Sale:
    def __init__(self, engine: Engine, settings: Settings, tickets: int = 100) -> None:
        self.engine, self.settings = engine, settings
        self.owner, self.user = add_user(engine), add_user(engine)
        self.event = add_event(engine, self.owner)
        self.adult = add_ticket_type(engine, tickets, event_id=self.event)
        self.child = add_ticket_type(engine, tickets, event_id=self.event)

    def buy(self, *lines: tuple[int, int], **columns: Any) -> str:
        return queue_buy(self.engine, lines or [(self.adult, 1)], user_id=self.user, **columns)

    def buy_for(self, buyer: str, **columns: Any) -> str:
        """As the owner's key does."""
        line = (self.adult, 1)
        return queue_buy(self.engine, [line], user_id=self.owner, buyer=buyer, **columns)

    def decide(self) -> None:
        drain(self.engine, [self.event], self.settings, ignore)

    def cancel(self, purchase: str) -> None:
        items = f'[{{"ticket_type": {self.adult}, "quantity": 1}}]'
        queue_resolution(self.engine, "cancel", purchase, items=items, restock=True)

    def _end_holds(self, purchases: list[str]) -> None:
        with cursor_transaction(self.engine) as cursor:
            queue_due(cursor)
        self.decide()
        ended = rows(self.engine, "SELECT purchase_id::text FROM ledger WHERE kind = 'expired'")
        assert set(purchases) <= {purchase for (purchase,) in ended}

    def in_every_status(self) -> dict[str, list[str]]:
        """By status. There are two purchases of each, one of them a cart or bought with a key."""
        cart = [(self.adult, 1), (self.child, 2)]
        held = [self.buy(*cart, hold_seconds=600), self.buy_for("bo", hold_seconds=600)]
        paid = [self.buy(*cart, hold_seconds=600), self.buy_for("ann", hold_seconds=600)]
        sold = [self.buy((self.adult, 2)), self.buy_for("ann")]
        rejected = [self.buy((self.adult, 1_000)), self.buy((self.adult, 1), (self.child, 1_000))]
        released = [self.buy(hold_seconds=600), self.buy_for("ann", hold_seconds=600)]
        expired = [self.buy(hold_seconds=1), self.buy_for("ann", hold_seconds=1)]
        cancelled = [self.buy(), self.buy_for("ann", hold_seconds=600)]
        self.decide()
        for n, purchase in enumerate([*paid, cancelled[1]]):
            reference = f"pi_{n}"
            queue_resolution(self.engine, "confirm", purchase, payment_reference=reference)
        for purchase in released:
            queue_resolution(self.engine, "release", purchase)
        eventually(lambda: self._end_holds(expired))
        # The first of those that are sold keeps one of its tickets; its second cancellation fails.
        self.cancel(sold[0])
        for purchase in cancelled:
            self.cancel(purchase)
            self.cancel(purchase)
        self.decide()
        return {
            "queued": [self.buy(*cart), self.buy_for("ann")],
            "held": held,
            "confirmed": [*paid, *sold],
            "rejected": rejected,
            "released": released,
            "expired": expired,
            "cancelled": cancelled,
        }


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


@pytest.fixture
def reader(sale: Sale, settings: Settings) -> Iterator[httpx.Client]:
    with running_gateway(settings, user_id=sale.owner) as client:
        yield client


def pages(reader: httpx.Client, **query: Any) -> Iterator[list[dict[str, Any]]]:
    url = f"{LIST}?{urlencode(query)}"
    while url is not None:
        answer = reader.get(url)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body.keys() == {"next", "results"}
        yield body["results"]
        url = body["next"]


def listed(reader: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    return [purchase for page in pages(reader, **query) for purchase in page]


def ids(purchases: list[dict[str, Any]]) -> list[str]:
    return [purchase["id"] for purchase in purchases]


def newest_first(*purchases: str) -> list[str]:
    return sorted(purchases, reverse=True)


def without_time(purchase: dict[str, Any]) -> dict[str, Any]:
    return purchase | {"seconds_left": None, "estimated_wait_seconds": None}


def test_the_owner_and_a_key_with_read_list_and_read_every_purchase_whatever_its_status(
    sale: Sale, reader: httpx.Client, settings: Settings
) -> None:
    by_status = sale.in_every_status()
    Sale(sale.engine, settings).in_every_status()  # of another event
    everything = newest_first(*(each for those in by_status.values() for each in those))
    key = reader.post("/api/keys/", json={"name": "Reports", "scopes": ["read"]}).json()["key"]
    server = httpx.Client(base_url=reader.base_url, headers={"Authorization": f"Bearer {key}"})
    with server:
        for client in (reader, server):
            found = listed(client, event=sale.event)
            assert ids(found) == everything
            for purchase in found:
                one = client.get(f"{LIST}{purchase['id']}/").json()
                assert without_time(one) == without_time(purchase)
    for status in STATUSES:
        of_status = listed(reader, event=sale.event, status=status, page_size=1)
        # What is queued is in the order of its queue; in the others the ids have theirs.
        in_order = (
            by_status[status][::-1] if status == "queued" else newest_first(*by_status[status])
        )
        assert ids(of_status) == in_order, status
        assert {purchase["status"] for purchase in of_status} == {status}


def test_filters_combine(sale: Sale, reader: httpx.Client) -> None:
    by_status = sale.in_every_status()
    (_, paid, *_), (_, sold_later) = by_status["confirmed"], by_status["cancelled"]
    bought = rows(
        sale.engine,
        "SELECT id::text FROM requests WHERE buyer = 'ann' AND kind = 'buy' ORDER BY seq DESC",
    )
    of_ann = [id_ for (id_,) in bought]
    event = sale.event
    assert len(of_ann) == 6
    assert ids(listed(reader, event=event, buyer="ann", page_size=4)) == of_ann
    for status in STATUSES:
        wanted = [id_ for id_ in of_ann if id_ in by_status[status]]
        assert ids(listed(reader, event=event, buyer="ann", status=status, page_size=1)) == wanted
    assert ids(listed(reader, event=event, payment_reference="pi_1")) == [paid]
    assert ids(listed(reader, event=event, payment_reference="pi_2")) == [sold_later]
    assert ids(listed(reader, event=event, payment_reference="pi_2", status="confirmed")) == []
    assert ids(listed(reader, event=event, payment_reference="pi_1", buyer="ann")) == [paid]
    assert ids(listed(reader, event=event, payment_reference="pi_1", buyer="bo")) == []
    assert listed(reader, event=event, payment_reference="pi_9") == []
    carts = listed(reader, event=event, ticket_type=sale.child, page_size=2)
    assert [len(purchase["items"]) for purchase in carts] == [2] * 4
    assert len(listed(reader, event=event, ticket_type=sale.child, status="held")) == 1


def test_a_reference_whose_confirmation_was_refused_confirmed_nothing(
    sale: Sale, reader: httpx.Client
) -> None:
    late = sale.buy(hold_seconds=600)
    sale.decide()
    queue_resolution(sale.engine, "release", late)
    queue_resolution(sale.engine, "confirm", late, payment_reference="pi_1")
    sale.decide()
    assert listed(reader, event=sale.event, payment_reference="pi_1") == []


def test_a_buyer_who_owns_an_event_as_well_has_two_lists(sale: Sale, reader: httpx.Client) -> None:
    elsewhere = add_ticket_type(sale.engine, 9)
    own = queue(sale.engine, [request(sale.owner, sale.adult), request(sale.owner, elsewhere)])
    others = queue(sale.engine, [request(sale.user, sale.adult)])
    body = reader.get(LIST).json()
    assert (body["count"], ids(body["results"])) == (2, own[::-1])
    assert ids(listed(reader, event=sale.event)) == newest_first(own[0], *others)


def selling(sale: Sale) -> Iterator[None]:
    """Sell, cancel, and release, step by step."""
    while True:
        bought = [sale.buy(), sale.buy_for("ann"), sale.buy(hold_seconds=600)]
        yield
        sale.decide()
        yield
        sale.cancel(bought[0])
        queue_resolution(sale.engine, "release", bought[2])
        yield


@pytest.mark.parametrize(
    "wanted", [{}, {"buyer": "ann"}, {"status": "confirmed"}, {"status": "released"}]
)
def test_pages_do_not_shift_while_a_sale_goes_on(
    sale: Sale, reader: httpx.Client, wanted: dict[str, str]
) -> None:
    def there() -> set[str]:
        filtered = Filter(sale.owner, event_id=sale.event, **wanted)
        found, _ = list_by_cursor(sale.engine, filtered, None, FILTERED_ROWS, position_max_rows=1)
        return {each.purchase.id for each in found}

    sold = selling(sale)
    for _ in range(36):
        next(sold)
    before, seen = there(), []
    for page in pages(reader, event=sale.event, page_size=3, **wanted):
        seen += ids(page)
        for _ in range(4):
            next(sold)
    assert len(before) >= 10
    assert len(seen) == len(set(seen))
    assert before & there() <= set(seen)


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_page_reads_no_more_rows_however_much_was_sold(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, is_analyzed: bool
) -> None:
    sale = Sale(engine, settings, tickets=2 * FILTERED_ROWS)
    queue_many(engine, sale.adult, FILTERED_ROWS + 1_000)
    sale.decide()
    buyer = scalar(engine, "SELECT user_id FROM requests WHERE kind = 'buy' LIMIT 1")
    if is_analyzed:
        run(engine, "ANALYZE")

    def read(
        after: str | None = None,
        user: int = sale.owner,
        event: int | None = sale.event,
        **wanted: Any,
    ) -> tuple[int, str | None, int]:
        """How many were found, how to go on, and what it cost."""
        before = rows_read(engine)
        filtered = Filter(user, event_id=event, **wanted)
        found, next_before = list_by_cursor(engine, filtered, after, 10, position_max_rows=1_000)
        return len(found), next_before, rows_read(engine) - before

    for status in (None, "confirmed"):
        found, _, cost = read(status=status)
        assert (found, cost < 200) == (10, True), (status, cost)
    for wanted in (
        *({"status": status} for status in STATUSES if status not in {"confirmed", "rejected"}),
        *({"buyer": "ann"}, {"payment_reference": "pi_1"}),
    ):
        found, goes_on, cost = read(**wanted)
        assert (found, goes_on, cost < 100) == (0, None, True), (wanted, cost)
    # Nothing fits: it is looked for in so many, and they are counted.
    found, goes_on, cost = read(status="rejected")
    assert (found, cost < 2 * FILTERED_ROWS + 100) == (0, True), cost
    assert goes_on is not None
    found, end, cost = read(goes_on, status="rejected")
    assert (found, end, cost < 3_000) == (0, None, True), cost
    # So are a buyer's own.
    found, goes_on, cost = read(user=buyer, event=None)
    assert (found, cost < 200) == (10, True), cost
    found, _, cost = read(goes_on, user=buyer, event=None)
    assert (found, cost < 200) == (10, True), cost
    found, goes_on, cost = read(user=buyer, event=None, status="held")
    assert (found, goes_on is None, cost < 4 * FILTERED_ROWS + 100) == (0, False, True), cost
    assert read(goes_on, user=buyer, event=None, status="held")[:2] == (0, None)

    # By page, the rows are counted, too.
    def read_page(**wanted: Any) -> tuple[int, int, int]:
        before = rows_read(engine)
        filtered = Filter(buyer, **wanted)
        count, found = list_of_user(engine, filtered, lambda _: 0, 10, position_max_rows=1_000)
        return count, len(found), rows_read(engine) - before

    count, found, cost = read_page(status="confirmed")
    assert (count, found, cost < 2 * FILTERED_ROWS + 200) == (FILTERED_ROWS, 10, True), cost
    count, found, cost = read_page(status="held")
    assert (count, found, cost < 4 * FILTERED_ROWS + 100) == (0, 0, True), cost
    monkeypatch.setattr(purchases, "LIST_MAX_ROWS", 1_000)
    count, found, cost = read_page(ticket_type_id=sale.child)
    assert (count, found, cost < 2_100) == (0, 0, True), cost


def test_others_are_refused(sale: Sale, reader: httpx.Client, settings: Settings) -> None:
    stranger = authorization(settings, sale.user)
    bought = queue(sale.engine, [request(sale.user, sale.adult)])
    for more in ({}, {"status": "queued"}, {"buyer": "ann"}, {"payment_reference": "pi_1"}):
        query = {"event": sale.event, **more}
        answer = reader.get(LIST, params=query, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        answer = reader.get(LIST, params=query | {"event": 999_999})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ids(reader.get(LIST, headers=stranger).json()["results"]) == bought
    made = reader.post("/api/keys/", json={"name": "Buys", "scopes": ["purchase", "payments"]})
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    answer = reader.get(LIST, params={"event": sale.event}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (403, "out_of_scope")


def test_a_parameter_that_is_wrong_is_named(sale: Sale, reader: httpx.Client) -> None:
    (other,) = queue(sale.engine, [request(sale.user, add_ticket_type(sale.engine, 1))])
    here = queue(sale.engine, [request(sale.user, sale.adult)])[0]
    own, of_event = (
        cursors.name_of("ticket-purchases/", filters)
        for filters in ([], [("event", str(sale.event))])
    )
    values = {
        "event": sale.event,
        "unknown": cursors.encoded(of_event, (uuid4(),)),
        "other": cursors.encoded(of_event, (other,)),
        "here": cursors.encoded(of_event, (here,)),
        "others_own": cursors.encoded(own, (other,)),
    }
    query = {"event": sale.event, "page_size": 1, "cursor": values["here"]}
    assert reader.get(LIST, params=query).status_code == 200
    for query, field in WRONG:
        answer = reader.get(f"{LIST}?{query.format(**values)}")
        assert answer.status_code == 400, (query, answer.text)
        assert list(answer.json()["errors"]) == [field], query
