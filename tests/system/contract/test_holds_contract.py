"""Holds: how they are read, paid, released, expired, extended, and how purchases are cancelled."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.support.event_streams import events_of
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.contract.routes import UNKNOWN_PURCHASE
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    WAIT,
    buy,
    buy_cart,
    create,
    left,
    new_key,
    put_types_on_sale,
    sale_held,
)

HOLD_SECONDS = 600
FOR_EVER = "private, max-age=31536000, immutable"
PAYMENT = {"payment_reference": "pi_1", "amount": "62.50", "currency": "EUR"}


class Stage:
    """An event with two types, of which adults' tickets are held for their payment."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.owner, self.buyer = shop.users(2)
        self.adult, self.child = put_types_on_sale(
            self.owner, {"price": "25.00", "hold_seconds": HOLD_SECONDS}, {"price": "12.50"}
        )
        self.event: int = self.owner.get(f"{TICKET_TYPES}{self.adult}/").json()["event"]

    def hold(self, **headers: str) -> dict[str, Any]:
        """Two adults and a child, for 62.50."""
        answer = buy_cart(self.buyer, (self.adult, 2), (self.child, 1), headers=WAIT | headers)
        assert answer.status_code == 201, answer.text
        purchase: dict[str, Any] = answer.json()
        assert purchase["status"] == "held"
        return purchase

    def hold_and_pay(self, reference: str = "pi_1") -> dict[str, Any]:
        purchase = self.hold()
        paid = self.confirm(purchase, payment_reference=reference)
        assert paid.status_code == 200, paid.text
        return purchase

    def act(
        self,
        client: httpx.Client,
        purchase: dict[str, Any],
        action: str,
        body: dict[str, Any] | None = None,
        **headers: str,
    ) -> httpx.Response:
        return client.post(f"{PURCHASES}{purchase['id']}/{action}/", json=body, headers=headers)

    def confirm(
        self, purchase: dict[str, Any], headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        return self.act(self.owner, purchase, "confirm", PAYMENT | fields, **(headers or {}))

    def cancel(self, purchase: dict[str, Any], **fields: Any) -> httpx.Response:
        return self.act(self.owner, purchase, "cancel", fields, **new_key())

    def let_time_pass(self) -> None:
        """As if all purchases of the event so far had been held for a second."""
        held = "event_id = %s AND hold_seconds = %s"
        with self.shop.database() as database:
            database.execute("SET session_replication_role = replica")
            database.execute(
                "UPDATE holds SET ends_at = ends_at - make_interval(secs => %s) WHERE purchase_id"
                f" IN (SELECT id FROM requests WHERE {held})",
                (HOLD_SECONDS - 1, self.event, HOLD_SECONDS),
            )
            database.execute(
                f"UPDATE requests SET hold_seconds = 1 WHERE {held}", (self.event, HOLD_SECONDS)
            )

    def read(self, purchase: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = self.buyer.get(f"{PURCHASES}{purchase['id']}/").json()
        return body

    def await_status(self, purchase: dict[str, Any], status: str) -> dict[str, Any]:
        def has_it() -> dict[str, Any]:
            body = self.read(purchase)
            assert body["status"] == status
            return body

        return eventually(has_it)

    def lefts(self) -> list[int]:
        return [left(self.buyer, ticket_type) for ticket_type in (self.adult, self.child)]

    def commands(self) -> int:
        with self.shop.database() as database:
            database.execute(
                "SELECT count(*) FROM requests WHERE event_id = %s"
                " AND kind IN ('confirm', 'release', 'cancel', 'extend')",
                (self.event,),
            )
            ((count,),) = database.fetchall()
            return int(count)


def seconds_until(purchase: dict[str, Any]) -> float:
    until = datetime.fromisoformat(purchase["held_until"])
    return (until - datetime.now(until.tzinfo)).total_seconds()


@pytest.fixture
def stage(shop: Shop) -> Stage:
    return Stage(shop)


# --- held ---


def test_a_held_purchase_is_a_201_that_says_until_when(stage: Stage) -> None:
    header = new_key()
    held = stage.hold(**header)
    assert (held["reason"], held["total_price"]) == (None, "62.50")
    assert HOLD_SECONDS - 20 < held["seconds_left"] <= HOLD_SECONDS
    assert abs(held["seconds_left"] - seconds_until(held)) < 2
    assert not {"payment_reference", "resolved_at", "cancelled_quantity"} & held.keys()
    assert stage.lefts() == [8, 9]
    again = buy_cart(stage.buyer, (stage.adult, 2), (stage.child, 1), headers=header)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    plain = buy(stage.buyer, stage.child, **WAIT).json()
    assert plain["status"] == "confirmed"
    assert "held_until" not in plain


def test_a_hold_is_read_by_its_buyer_and_the_owner_and_never_cached_for_ever(stage: Stage) -> None:
    held = stage.hold()
    address = f"{PURCHASES}{held['id']}/"
    first = stage.buyer.get(address)
    assert first.headers["Cache-Control"] == "private, no-cache"
    tag = first.headers["ETag"]

    def a_second_later() -> httpx.Response:
        later = stage.owner.get(address)
        assert later.json()["seconds_left"] < first.json()["seconds_left"]
        return later

    later = eventually(a_second_later)
    assert later.headers["ETag"] == tag
    assert stage.buyer.get(address, headers={"If-None-Match": tag}).status_code == 304
    assert stage.shop.user().get(address).status_code == 404


def test_a_wait_ends_when_it_is_held_and_one_that_knows_it_waits_for_the_next_change(
    stage: Stage,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with sale_held(stage.shop.database_url, stage.adult):
            address = buy(stage.buyer, stage.adult, 2).headers["Location"]
            waiting = pool.submit(stage.buyer.get, address, params={"wait": 25})
            listening = pool.submit(
                stage.buyer.get, address, headers={"Accept": "text/event-stream"}
            )
            time.sleep(0.3)
            assert [waiting.done(), listening.done()] == [False, False]
        held = waiting.result()
        assert held.json()["status"] == "held"
        outcome = list(events_of(listening.result().text.splitlines()))[-1]
        assert (outcome.event, outcome.id) == ("outcome", held.headers["ETag"].strip('"'))
        assert stage.buyer.get(address, params={"wait": 25}).elapsed.total_seconds() < 10
        known = {"If-None-Match": held.headers["ETag"]}
        unchanged = stage.buyer.get(address, params={"wait": 1}, headers=known)
        assert unchanged.status_code == 304
        assert unchanged.elapsed.total_seconds() >= 1
        changing = pool.submit(stage.buyer.get, address, params={"wait": 25}, headers=known)
        time.sleep(0.3)
        assert not changing.done()
        stage.act(stage.buyer, held.json(), "release")
        changed = changing.result()
    assert (changed.status_code, changed.json()["status"]) == (200, "released")
    assert changed.elapsed.total_seconds() < 20


def test_lists_know_the_status_of_holds(stage: Stage) -> None:
    held, released, paid, cancelled = stage.hold(), stage.hold(), stage.hold(), stage.hold()
    stage.act(stage.buyer, released, "release")
    stage.confirm(paid)
    stage.confirm(cancelled, payment_reference="pi_2")
    stage.cancel(paid, items=[{"ticket_type": stage.adult, "quantity": 1}])
    stage.cancel(cancelled)
    expected = {"held": held, "released": released, "confirmed": paid, "cancelled": cancelled}
    for status, purchase in expected.items():
        page = stage.buyer.get(PURCHASES, params={"status": status}).json()
        assert page["count"] == 1
        assert [(p["id"], p["status"]) for p in page["results"]] == [(purchase["id"], status)]
    for status in ("queued", "rejected", "expired"):
        assert stage.buyer.get(PURCHASES, params={"status": status}).json()["count"] == 0
    everything = stage.buyer.get(PURCHASES).json()["results"]
    assert [p["status"] for p in everything] == ["cancelled", "confirmed", "released", "held"]
    check_invalid(stage.buyer.get(PURCHASES, params={"status": "paid"}), "status")


def test_all_held_is_told_from_sold_out(stage: Stage) -> None:
    filling = stage.shop.users(2)
    held = buy(filling[0], stage.adult, 9, **WAIT).json()
    assert held["status"] == "held"
    rejected = buy(stage.buyer, stage.adult, 2, **WAIT)
    problem = check_problem(rejected, 400, "all_held")
    assert problem["short"] == [{"ticket_type": stage.adult, "quantity": 2, "left": 1}]
    assert stage.buyer.get(f"{PURCHASES}{problem['id']}/").json()["reason"] == "all_held"
    buy(filling[1], stage.adult, 1, **WAIT)
    at_edge = check_problem(refused := buy(stage.buyer, stage.adult, 2), 400, "all_held")
    assert "id" not in at_edge
    assert 0.7 * HOLD_SECONDS < int(refused.headers["Retry-After"]) < 1.3 * HOLD_SECONDS
    assert stage.buyer.get(PURCHASES).json()["count"] == 1
    check_problem(buy(stage.buyer, stage.child, 10 + 1), 400, "invalid")


# --- confirm ---


def test_confirm_answers_200_with_the_purchase_and_again_for_the_same_reference(
    stage: Stage,
) -> None:
    held = stage.hold()
    paid = stage.confirm(held)
    assert paid.status_code == 200
    body = paid.json()
    assert (body["status"], body["payment_reference"]) == ("confirmed", "pi_1")
    assert (body["resolved_at"] > body["decided_at"], body["cancelled_quantity"]) == (True, 0)
    assert not {"held_until", "seconds_left"} & body.keys()
    assert body == stage.read(held)
    again = stage.confirm(held)
    assert (again.status_code, again.json()) == (200, body)
    assert stage.commands() == 1
    other = stage.confirm(held, payment_reference="pi_other")
    check_problem(other, 409, "already_confirmed")
    check_problem(stage.act(stage.buyer, held, "release"), 409, "already_confirmed")
    assert stage.lefts() == [8, 9]
    caching = stage.buyer.get(f"{PURCHASES}{held['id']}/").headers["Cache-Control"]
    assert caching == "private, no-cache"


def test_confirm_checks_amount_and_currency(stage: Stage) -> None:
    held = stage.hold()
    check_invalid(stage.confirm(held, amount="62.49"), "amount")
    check_invalid(stage.confirm(held, currency="USD"), "currency")
    check_invalid(stage.confirm(held, amount="0", currency="CHF"), "amount", "currency")
    assert stage.commands() == 0
    assert stage.confirm(held, amount="62.5").status_code == 200


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["payment_reference", "amount", "currency"]),
        (PAYMENT | {"amount": 62.5}, ["amount"]),
        (PAYMENT | {"amount": "62.500"}, ["amount"]),
        (PAYMENT | {"currency": "eur"}, ["currency"]),
        (PAYMENT | {"payment_reference": ""}, ["payment_reference"]),
        (PAYMENT | {"payment_reference": "x" * 256}, ["payment_reference"]),
        (PAYMENT | {"payment_reference": "a\nb"}, ["payment_reference"]),
        (PAYMENT | {"payment_reference": None}, ["payment_reference"]),
        (PAYMENT | {"amuont": "62.50"}, ["amuont"]),
    ],
)
def test_confirm_names_each_field_that_is_wrong(
    stage: Stage, body: dict[str, Any], fields: list[str]
) -> None:
    held = {"id": UNKNOWN_PURCHASE}
    check_invalid(stage.act(stage.owner, held, "confirm", body), *fields)


def test_confirm_is_for_the_owner_of_the_event(stage: Stage) -> None:
    held = stage.hold()
    refused = stage.act(stage.buyer, held, "confirm", PAYMENT)
    check_problem(refused, 403, "permission_denied")
    stranger = stage.shop.user()
    for action, body in (("confirm", PAYMENT), ("release", None), ("cancel", {})):
        for purchase in (held, {"id": UNKNOWN_PURCHASE}, {"id": "no-id"}):
            answer = stage.act(stranger, purchase, action, body, **new_key())
            check_problem(answer, 404, "not_found")
    check_problem(stage.act(stage.buyer, held, "cancel", {}, **new_key()), 403, "permission_denied")
    assert stage.commands() == 0
    assert stage.read(held)["status"] == "held"


def test_confirm_of_what_is_not_held_says_why(stage: Stage) -> None:
    released = stage.hold()
    stage.act(stage.buyer, released, "release")
    check_problem(stage.confirm(released), 409, "hold_released")
    plain = buy(stage.buyer, stage.child, 5, **WAIT).json()
    check_problem(stage.confirm(plain), 409, "not_held")
    check_problem(stage.act(stage.buyer, plain, "release"), 409, "not_held")
    rejected = check_problem(buy(stage.buyer, stage.child, 9, **WAIT), 400, "not_enough_tickets")
    short = stage.read({"id": rejected["id"]})
    check_problem(stage.confirm(short, amount="112.50"), 409, "not_held")
    expired = stage.hold()
    stage.let_time_pass()
    stage.await_status(expired, "expired")
    check_problem(stage.confirm(expired), 409, "hold_expired")
    check_problem(stage.act(stage.buyer, expired, "release"), 409, "hold_expired")


def test_confirm_of_what_is_queued_answers_not_decided_and_stores_nothing(stage: Stage) -> None:
    with sale_held(stage.shop.database_url, stage.adult):
        queued = buy_cart(stage.buyer, (stage.adult, 2), (stage.child, 1)).json()
        for answer in (
            stage.confirm(queued, new_key()),
            stage.act(stage.buyer, queued, "release"),
            stage.cancel(queued),
        ):
            check_problem(answer, 409, "not_decided")
            assert int(answer.headers["Retry-After"]) >= 1
    assert stage.commands() == 0


def test_a_reference_confirms_one_purchase_of_an_owner(stage: Stage) -> None:
    first, second = stage.hold(), stage.hold()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(stage.confirm, [first, second] * 4))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * 4 + [409] * 4
    for answer in answers:
        if answer.status_code == 409:
            check_problem(answer, 409, "payment_reference_used")
    assert sorted([stage.read(first)["status"], stage.read(second)["status"]]) == [
        "confirmed",
        "held",
    ]
    # Another owner's payments are another provider's.
    other = Stage(stage.shop)
    assert other.confirm(other.hold()).status_code == 200


def test_the_same_confirmation_many_times_at_once_is_one(stage: Stage) -> None:
    held = stage.hold()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: stage.confirm(held), range(18)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_confirm_undecided_within_the_wait_answers_202_and_a_retry_joins_it(stage: Stage) -> None:
    held = stage.hold()
    with sale_held(stage.shop.database_url, stage.adult):
        pending = stage.confirm(held, {"Prefer": "wait=1"})
        assert pending.status_code == 202
        assert pending.headers["Location"] == f"{PURCHASES}{held['id']}/"
        assert int(pending.headers["Retry-After"]) >= 1
        assert pending.headers["Preference-Applied"] == "wait=1"
        assert pending.json()["status"] == "held"
        at_once = stage.confirm(held, {"Prefer": "wait=0"})
        assert (at_once.status_code, at_once.headers["Preference-Applied"]) == (202, "wait=0")
        assert at_once.elapsed.total_seconds() < 5
        assert stage.commands() == 1
    assert stage.confirm(held).json()["status"] == "confirmed"
    assert stage.commands() == 1


def test_a_servers_key_buys_and_pays_for_its_buyers(stage: Stage) -> None:
    wanted = {"name": "Shop", "scopes": ["read", "purchase", "payments"]}
    server = stage.shop.client(create(stage.owner, "/api/keys/", wanted)["key"])
    (seat,) = put_types_on_sale(stage.owner, {"hold_seconds": HOLD_SECONDS, "max_per_user": 2})

    def buy_for(buyer: str) -> httpx.Response:
        body = {"ticket_type": seat, "quantity": 2, "buyer": buyer}
        return server.post(PURCHASES, json=body, headers=WAIT)

    theos, miras = buy_for("theo").json(), buy_for("mira").json()
    assert [(one["status"], one["buyer"]) for one in (theos, miras)] == [
        ("held", "theo"),
        ("held", "mira"),
    ]
    rejected = check_problem(buy_for("theo"), 400, "over_user_limit")
    payment = PAYMENT | {"amount": theos["total_price"]}
    paid = stage.act(server, theos, "confirm", payment)
    assert (paid.status_code, paid.json()["buyer"]) == (200, "theo")
    released = stage.act(server, miras, "release").json()
    assert (released["status"], released["buyer"]) == ("released", "mira")

    def listed(**filters: str) -> list[tuple[str, str]]:
        page = server.get(PURCHASES, params=filters).json()
        assert page["count"] == len(page["results"])
        return [(one["id"], one["status"]) for one in page["results"]]

    assert listed(buyer="theo") == [(rejected["id"], "rejected"), (theos["id"], "confirmed")]
    assert listed(buyer="theo", status="confirmed") == [(theos["id"], "confirmed")]
    assert listed(buyer="mira") == [(miras["id"], "released")]
    assert listed(buyer="ida") == []


def test_ids_of_a_shop_are_compared_as_they_are_sent(stage: Stage) -> None:
    wanted = {"name": "Shop", "scopes": ["read", "purchase", "payments"]}
    server = stage.shop.client(create(stage.owner, "/api/keys/", wanted)["key"])
    (seat,) = put_types_on_sale(stage.owner, {"hold_seconds": HOLD_SECONDS, "max_per_user": 1})
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    for name in (composed, decomposed):
        body = {"ticket_type": seat, "quantity": 1, "buyer": name}
        held = server.post(PURCHASES, json=body, headers=WAIT).json()
        payment = PAYMENT | {"payment_reference": name, "amount": held["total_price"]}
        paid = stage.act(server, held, "confirm", payment).json()
        assert (paid["buyer"], paid["payment_reference"]) == (name, name)
        event = {"event": held["event"]}
        for mine in ({"buyer": name}, event | {"payment_reference": name}):
            page = server.get(PURCHASES, params=mine).json()
            assert [one["id"] for one in page["results"]] == [paid["id"]]


# --- release ---


@pytest.mark.parametrize("who", ["buyer", "owner"])
def test_release_is_for_buyer_and_owner_and_its_tickets_are_back(stage: Stage, who: str) -> None:
    held = stage.hold()
    client: httpx.Client = getattr(stage, who)
    released = stage.act(client, held, "release")
    assert released.status_code == 200
    body = released.json()
    assert (body["status"], body["payment_reference"]) == ("released", None)
    assert body["resolved_at"] > body["decided_at"]
    assert stage.lefts() == [10, 10]
    again = stage.act(client, held, "release", {})
    assert (again.status_code, again.json()) == (200, body)
    check_invalid(stage.act(client, held, "release", {"force": True}), "force")
    read = stage.buyer.get(f"{PURCHASES}{held['id']}/")
    assert read.headers["Cache-Control"] == FOR_EVER
    check_problem(stage.cancel(held), 409, "not_confirmed")


# --- cancel ---


def cancelled_of_lines(purchase: dict[str, Any]) -> dict[int, int]:
    return {item["ticket_type"]: item["cancelled_quantity"] for item in purchase["items"]}


def test_cancel_takes_back_a_part_and_then_the_rest(stage: Stage) -> None:
    paid = stage.hold_and_pay()
    one = [{"ticket_type": stage.adult, "quantity": 1}]
    header = new_key()
    part = stage.act(
        stage.owner, paid, "cancel", {"items": one, "note": "Refund, as asked"}, **header
    )
    assert part.status_code == 201
    assert part.headers["Location"] == f"{PURCHASES}{paid['id']}/"
    body = part.json()
    assert (body["status"], body["cancelled_quantity"]) == ("confirmed", 1)
    assert cancelled_of_lines(body) == {stage.adult: 1, stage.child: 0}
    assert body["payment_reference"] == "pi_1"
    assert stage.lefts() == [9, 9]
    replay = stage.act(
        stage.owner, paid, "cancel", {"items": one, "note": "Refund, as asked"}, **header
    )
    assert (replay.status_code, replay.json()) == (201, body)
    assert replay.headers["Idempotency-Replayed"] == "true"
    assert stage.lefts() == [9, 9]
    two = [{"ticket_type": stage.adult, "quantity": 2}]
    check_problem(stage.cancel(paid, items=two), 409, "already_cancelled")

    rest = stage.cancel(paid, restock=False, note="refund-18")
    assert (rest.status_code, rest.json()["status"]) == (201, "cancelled")
    assert rest.json()["cancelled_quantity"] == 3
    assert cancelled_of_lines(rest.json()) == {stage.adult: 2, stage.child: 1}
    assert stage.lefts() == [9, 9]
    check_problem(stage.cancel(paid), 409, "already_cancelled")
    # With the purchase as it is now, so what is refunded is another matter.
    late = stage.act(
        stage.owner, paid, "cancel", {"items": one, "note": "Refund, as asked"}, **header
    )
    assert (late.status_code, late.json()) == (201, rest.json())
    assert late.headers["Idempotency-Replayed"] == "true"
    ledger = stage.owner.get(f"{EVENTS}{stage.event}/ledger/", params={"kinds": "cancelled"}).json()
    refunds = {entry["note"]: entry["total_price"] for entry in ledger["entries"]}
    assert refunds == {"Refund, as asked": "25.00", "refund-18": "37.50"}
    read = stage.buyer.get(f"{PURCHASES}{paid['id']}/")
    assert (read.json(), read.headers["Cache-Control"]) == (rest.json(), FOR_EVER)
    # Its payment is still the one that confirmed it.
    assert stage.confirm(paid).status_code == 200
    check_problem(stage.confirm(paid, payment_reference="pi_2"), 409, "already_confirmed")


def test_a_purchase_without_a_hold_is_cancelled_too(stage: Stage) -> None:
    plain = buy(stage.buyer, stage.child, 2, **WAIT).json()
    assert stage.read(plain) == plain
    assert stage.cancel(plain).status_code == 201
    # At once, whatever was cached.
    body = stage.read(plain)
    assert (body["status"], body["payment_reference"]) == ("cancelled", None)
    assert stage.lefts() == [10, 10]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"ticket_type": 1}]}, "items.0.quantity"),
        ({"items": [{"ticket_type": 1, "quantity": 1}] * 2}, "items"),
        ({"items": [{"ticket_type": 1, "quantity": 1, "price": "1"}]}, "items.0.price"),
        ({"restock": "no"}, "restock"),
        ({"note": ""}, "note"),
        ({"note": "x" * 501}, "note"),
        ({"reason": "x"}, "reason"),
    ],
)
def test_cancel_names_each_field_that_is_wrong(
    stage: Stage, body: dict[str, Any], field: str
) -> None:
    check_invalid(
        stage.act(stage.owner, {"id": UNKNOWN_PURCHASE}, "cancel", body, **new_key()), field
    )


def test_cancel_knows_the_lines_of_the_purchase(stage: Stage) -> None:
    plain = buy(stage.buyer, stage.child, 2, **WAIT).json()
    mixed = [
        {"ticket_type": stage.child, "quantity": 1},
        {"ticket_type": stage.adult, "quantity": 1},
    ]
    check_invalid(stage.cancel(plain, items=mixed), "items.1.ticket_type")
    check_problem(stage.cancel(plain, items=[mixed[0] | {"quantity": 3}]), 409, "already_cancelled")
    assert stage.commands() == 0


# --- extend ---


def test_extend_holds_gives_all_holds_more_time(stage: Stage) -> None:
    held, other = stage.hold(), stage.hold()
    address = f"{EVENTS}{stage.event}/extend-holds/"
    header = new_key()
    before = stage.buyer.get(f"{PURCHASES}{held['id']}/").headers["ETag"]
    for replayed in (None, "true"):
        extended = stage.owner.post(address, json={"seconds": 1_800}, headers=header)
        assert (extended.status_code, extended.json()) == (200, {"seconds": 1_800, "extended": 2})
        assert extended.headers.get("Idempotency-Replayed") == replayed
    for purchase in (held, other):
        read = stage.read(purchase)
        assert read["held_until"] > purchase["held_until"]
        assert 1_800 < read["seconds_left"] <= 2_400
    assert stage.buyer.get(f"{PURCHASES}{held['id']}/").headers["ETag"] != before
    # What is held later has its own time.
    assert stage.hold()["seconds_left"] <= HOLD_SECONDS


def test_extend_holds_is_for_the_owner_and_has_seconds(stage: Stage) -> None:
    address = f"{EVENTS}{stage.event}/extend-holds/"
    for seconds in (0, 86_401, "60", None, True):
        check_invalid(
            stage.owner.post(address, json={"seconds": seconds}, headers=new_key()), "seconds"
        )
    refused = stage.buyer.post(address, json={"seconds": 60}, headers=new_key())
    check_problem(refused, 403, "permission_denied")
    for unknown in ("999999999", "0", "x"):
        answer = stage.owner.post(
            f"{EVENTS}{unknown}/extend-holds/", json={"seconds": 60}, headers=new_key()
        )
        check_problem(answer, 404, "not_found")
    assert stage.commands() == 0


def test_extend_holds_undecided_within_the_wait_answers_202(stage: Stage) -> None:
    address = f"{EVENTS}{stage.event}/extend-holds/"
    header = new_key() | {"Prefer": "wait=1"}
    with sale_held(stage.shop.database_url, stage.adult):
        pending = stage.owner.post(address, json={"seconds": 60}, headers=header)
    assert (pending.status_code, pending.json()) == (202, {"seconds": 60, "extended": None})
    assert pending.headers["Location"] == f"{EVENTS}{stage.event}/"
    decided = stage.owner.post(address, json={"seconds": 60}, headers=header)
    assert (decided.status_code, decided.json()["extended"]) == (200, 0)


# --- keys ---


def test_cancel_and_extend_require_a_key(stage: Stage) -> None:
    paid = stage.hold_and_pay()
    check_invalid(stage.act(stage.owner, paid, "cancel", {}), "Idempotency-Key")
    address = f"{EVENTS}{stage.event}/extend-holds/"
    check_invalid(stage.owner.post(address, json={"seconds": 60}), "Idempotency-Key")


def test_a_key_belongs_to_the_account_over_all_its_requests(stage: Stage) -> None:
    first, second = stage.hold(), stage.hold()
    header = new_key()
    assert stage.confirm(first, header).status_code == 200
    replay = stage.confirm(first, header)
    assert (replay.status_code, replay.headers["Idempotency-Replayed"]) == (200, "true")
    for answer in (
        stage.confirm(second, header),
        stage.confirm(first, header, payment_reference="pi_2"),
        stage.act(stage.owner, first, "cancel", {}, **header),
        buy(stage.owner, stage.child, **header),
        stage.owner.post(
            f"{EVENTS}{stage.event}/extend-holds/", json={"seconds": 60}, headers=header
        ),
    ):
        check_problem(answer, 422, "idempotency_key_reused")
    assert stage.act(stage.buyer, second, "release", **header).status_code == 200


def test_a_refusal_at_the_edge_binds_no_key(stage: Stage) -> None:
    held = stage.hold()
    header = new_key()
    check_invalid(stage.confirm(held, header, amount="1.00"), "amount")
    assert stage.confirm(held, header).status_code == 200


def test_a_cancellation_that_came_too_early_binds_no_key(stage: Stage) -> None:
    held, header = stage.hold(), new_key()
    check_problem(stage.act(stage.owner, held, "cancel", {}, **header), 409, "not_confirmed")
    assert stage.confirm(held).status_code == 200
    cancelled = stage.act(stage.owner, held, "cancel", {}, **header)
    assert (cancelled.status_code, cancelled.json()["status"]) == (201, "cancelled")


# --- form ---


@pytest.mark.parametrize("action", ["confirm", "release", "cancel"])
def test_only_post_is_allowed_and_only_with_a_token(stage: Stage, action: str) -> None:
    address = f"{PURCHASES}{UNKNOWN_PURCHASE}/{action}/"
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = stage.owner.request(method, address)
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "POST"
    check_problem(stage.shop.client().post(address, json={}), 401, "not_authenticated")
    check_invalid(stage.owner.post(address, params={"force": 1}, json=PAYMENT), "force")
    if action != "release":
        malformed = stage.owner.post(address, content=b"{", headers=new_key())
        check_problem(malformed, 400, "malformed_body")
