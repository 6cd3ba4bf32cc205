"""Ticket types."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import (
    EVENTS,
    TICKET_TYPES,
    WAIT,
    OnSale,
    buy,
    create,
    event_fields,
    left,
    ticket_type_fields,
)

FIELDS = {
    *("id", "event", "name", "price", "capacity", "sold", "sales_start", "sales_end"),
    *("max_per_purchase", "max_per_user", "hold_seconds", "paused_at", "issued"),
    *("created_at", "updated_at"),
}


def new_event(owner: httpx.Client) -> int:
    id_: int = create(owner, EVENTS, event_fields())["id"]
    return id_


def new_type(owner: httpx.Client, **fields: Any) -> dict[str, Any]:
    return create(owner, TICKET_TYPES, ticket_type_fields(new_event(owner)) | fields)


def address(ticket_type: dict[str, Any] | int) -> str:
    id_ = ticket_type if isinstance(ticket_type, int) else ticket_type["id"]
    return f"{TICKET_TYPES}{id_}/"


def writes(owner: httpx.Client, ticket_type: dict[str, Any], **fields: Any) -> list[httpx.Response]:
    """The answers to a POST, a PUT and a PATCH of the same fields."""
    whole = ticket_type_fields(ticket_type["event"]) | fields
    return [
        owner.post(TICKET_TYPES, json=whole),
        owner.put(address(ticket_type), json=whole),
        owner.patch(address(ticket_type), json=fields),
    ]


# --- the fields ---


def test_fields(organiser: httpx.Client) -> None:
    ticket_type = new_type(organiser, name="Standing", capacity=500)
    assert ticket_type.keys() == FIELDS
    assert (ticket_type["name"], ticket_type["capacity"]) == ("Standing", 500)
    assert (ticket_type["sold"], ticket_type["issued"]) == (0, 500)
    for field, bad_values in {
        "event": (2**63 - 1, 2**63, 0, -1, True, "1", None),
        "name": ("", " ", "x" * 201, None, 7, "nul\0", "\u200b", "\u001b[2J", "\u202eelloT"),
        "capacity": (-1, 1_000_000_001, 2**31, 1.0, 1.5, "5", True, None),
        "max_per_purchase": (0, -1, 1_000_001, 1.5, "2", True, None),
        "max_per_user": (0, -1, 2**31, 1.5, "2", True),
        "hold_seconds": (29, 7_201, 0, -30, 60.5, "60", True),
    }.items():
        for bad in bad_values:
            for answer in writes(organiser, ticket_type, **{field: bad}):
                check_invalid(answer, field)
    assert organiser.get(address(ticket_type)).json() == ticket_type


def test_price_is_a_decimal_string_of_0_or_more(organiser: httpx.Client) -> None:
    ticket_type = new_type(organiser)
    for price in ("100", "0", "12.5", "0.1", "9999999999.99"):
        for answer in writes(organiser, ticket_type, price=price):
            assert answer.status_code in (200, 201)
            assert answer.json()["price"] == f"{Decimal(price):.2f}"
    texts = ("-0.01", "1.001", "1.000", "12345678901", "1e3", "NaN", "Infinity", "", "x", "1_0")
    for bad in (*texts, "\uff11", 7, 0, 19.99, 1e300, True, None, ["1.00"]):
        for answer in writes(organiser, ticket_type, price=bad):
            check_invalid(answer, "price")


def test_sales_start_and_sales_end_null_is_open(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser)
    assert (ticket_type["sales_start"], ticket_type["sales_end"]) == (None, None)
    assert buy(buyer, ticket_type["id"]).status_code == 202
    past, future = ((datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (-1, 1))
    for window, status in (
        ({"sales_start": past, "sales_end": None}, 202),
        ({"sales_start": None, "sales_end": future}, 202),
        ({"sales_start": past, "sales_end": future}, 202),
        ({"sales_start": future, "sales_end": None}, 400),
        ({"sales_start": None, "sales_end": past}, 400),
    ):
        assert organiser.patch(address(ticket_type), json=window).status_code == 200
        assert buy(buyer, ticket_type["id"]).status_code == status, window
    ticket_type = new_type(organiser)
    for answer in writes(organiser, ticket_type, sales_start=future, sales_end=past):
        check_invalid(answer, "sales_end")
    ended = new_type(organiser, sales_end=past)
    check_invalid(organiser.patch(address(ended), json={"sales_start": future}), "sales_end")
    for field in ("sales_start", "sales_end"):
        for bad in ("2031-06-05T20:00:00", "soon", 7):
            for answer in writes(organiser, ticket_type, **{field: bad}):
                check_invalid(answer, field)


def test_max_per_purchase_is_10_by_default(organiser: httpx.Client, buyer: httpx.Client) -> None:
    ticket_type = new_type(organiser, capacity=100)
    assert ticket_type["max_per_purchase"] == 10
    assert buy(buyer, ticket_type["id"], 10).status_code == 202
    check_invalid(buy(buyer, ticket_type["id"], 11), "quantity")
    organiser.patch(address(ticket_type), json={"max_per_purchase": 11})
    assert buy(buyer, ticket_type["id"], 11).status_code == 202


def test_max_per_user_null_is_none(organiser: httpx.Client, buyer: httpx.Client) -> None:
    unlimited, limited = (
        new_type(organiser, capacity=100, max_per_user=most) for most in (None, 2)
    )
    assert (unlimited["max_per_user"], limited["max_per_user"]) == (None, 2)
    assert [buy(buyer, unlimited["id"], 10, **WAIT).status_code for _ in range(3)] == [201] * 3
    assert [buy(buyer, limited["id"], 1, **WAIT).status_code for _ in range(3)] == [201, 201, 400]


def test_list_event(organiser: httpx.Client) -> None:
    one, _other = new_type(organiser), new_type(organiser)
    same = create(organiser, TICKET_TYPES, ticket_type_fields(one["event"], name="Seated"))
    page = organiser.get(TICKET_TYPES, params={"event": one["event"]}).json()
    assert (page["count"], page["results"]) == (2, [one, same])
    check_invalid(organiser.get(TICKET_TYPES, params={"event": "x"}), "event")


def test_a_ticket_type_with_purchases_stays_where_it_is(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    def cannot_move_or_be_deleted(id_: int) -> None:
        moved = organiser.patch(address(id_), json={"event": new_event(organiser)})
        check_problem(moved, 409, "conflict")
        check_problem(organiser.delete(address(id_)), 409, "conflict")

    moved = organiser.patch(address(new_type(organiser)), json={"event": new_event(organiser)})
    assert moved.status_code == 200
    queued, sold = moved.json()["id"], new_type(organiser)["id"]
    with shop.decisions_suspended():
        buy(buyer, queued)
        cannot_move_or_be_deleted(queued)
    buy(buyer, sold, **WAIT)
    cannot_move_or_be_deleted(sold)


# --- pause and resume ---


def test_post_pause_stops_the_sale_until_resume(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser)
    with shop.decisions_suspended():
        queued = buy(buyer, ticket_type["id"])
        assert queued.status_code == 202
        paused = organiser.post(f"{address(ticket_type)}pause/")
        assert paused.status_code == 200
        times = {name: paused.json()[name] for name in ("paused_at", "updated_at")}
        assert paused.json() == ticket_type | times
        assert ticket_type["updated_at"] < times["updated_at"]
        assert buyer.get(address(ticket_type)).json() == paused.json()
        refusal = buy(buyer, ticket_type["id"])
        check_problem(refusal, 400, "sale_paused")
        assert 30 <= int(refusal.headers["Retry-After"]) <= 38
    # What was accepted before is decided all the same.
    decided = buyer.get(queued.headers["Location"], params={"wait": 20})
    assert decided.json()["status"] == "confirmed"
    resumed = organiser.post(f"{address(ticket_type)}resume/")
    assert (resumed.status_code, resumed.json()["paused_at"]) == (200, None)
    assert buy(buyer, ticket_type["id"], **WAIT).status_code == 201


def test_a_pause_changes_the_etag_and_is_done_once(organiser: httpx.Client) -> None:
    ticket_type = new_type(organiser)
    path = address(ticket_type)
    tag = organiser.get(path).headers["ETag"]
    paused = organiser.post(f"{path}pause/")
    assert paused.headers["ETag"] == organiser.get(path).headers["ETag"] != tag
    assert organiser.post(f"{path}pause/").json() == paused.json()
    for method in ("PUT", "PATCH"):  # a form from before the pause does not resume
        answer = organiser.request(method, path, json=ticket_type | {"paused_at": None})
        assert (answer.status_code, answer.json()) == (200, paused.json())
    for action in ("pause", "resume"):
        stale = organiser.post(f"{path}{action}/", headers={"If-Match": tag})
        check_problem(stale, 412, "precondition_failed")
    resumed = organiser.post(f"{path}resume/", headers={"If-Match": paused.headers["ETag"]})
    assert resumed.json() == ticket_type | {"updated_at": resumed.json()["updated_at"]}
    assert resumed.headers["ETag"] not in (tag, paused.headers["ETag"])
    assert organiser.post(f"{path}resume/").json() == resumed.json()


def test_pause_and_resume_take_no_fields(organiser: httpx.Client) -> None:
    path = address(new_type(organiser))
    for action in ("pause", "resume"):
        for body, field in ((b'{"until": "2027-06-05T20:00:00Z"}', "until"), (b"[]", "body")):
            check_invalid(organiser.post(f"{path}{action}/", content=body), field)
        for body in (b"{", b"\xef\xbb\xbf{}"):
            answer = organiser.post(f"{path}{action}/", content=body)
            check_problem(answer, 400, "malformed_body")
    assert organiser.get(path).json()["paused_at"] is None
    for body in (b"", b"{}"):
        assert organiser.post(f"{path}pause/", content=body).status_code == 200


def test_a_key_used_before_a_pause_is_answered_as_the_purchase_stands(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type, key = new_type(organiser), {"Idempotency-Key": '"before the pause"'}
    bought = buy(buyer, ticket_type["id"], **WAIT, **key)
    organiser.post(f"{address(ticket_type)}pause/")
    again = buy(buyer, ticket_type["id"], **key)
    assert (again.status_code, again.json()) == (201, bought.json())


def test_a_key_refused_in_a_pause_buys_after_it(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type, key = new_type(organiser), {"Idempotency-Key": '"during the pause"'}
    organiser.post(f"{address(ticket_type)}pause/")
    check_problem(buy(buyer, ticket_type["id"], **key), 400, "sale_paused")
    organiser.post(f"{address(ticket_type)}resume/")
    assert buy(buyer, ticket_type["id"], **WAIT, **key).status_code == 201


# --- capacity ---


def test_capacity_is_what_is_left_to_sell_so_a_confirmed_purchase_of_2_lowers_it_by_2(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=10)
    bought = buy(buyer, ticket_type["id"], 2, **WAIT)
    assert (bought.status_code, bought.json()["status"]) == (201, "confirmed")
    after = organiser.get(address(ticket_type)).json()
    assert after == ticket_type | {"capacity": 8, "sold": 2}


def test_post_capacity_adds_or_withdraws_tickets_safely_during_a_sale(
    shop: Shop, organiser: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(40, max_per_purchase=1)

    def buy_one(buyer: httpx.Client) -> int:
        return buy(buyer, ticket_type, **WAIT).status_code

    def change(by: int) -> httpx.Response:
        return organiser.post(f"{address(ticket_type)}capacity/", json={"change": by})

    buyers = shop.users(30)
    with ThreadPoolExecutor(16) as pool:
        statuses = pool.map(buy_one, buyers)
        changes = [change(by) for by in (20, -5, 20, -5)]
        assert list(statuses) == [201] * 30
    for answer in changes:
        assert answer.status_code == 200
        assert answer.headers["ETag"]
    after = organiser.get(address(ticket_type)).json()
    assert (after["capacity"], after["sold"]) == (40 + 30 - 30, 30)


def test_post_capacity_below_0_left_answers_400(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=10)
    buy(buyer, ticket_type["id"], 4, **WAIT)
    change = f"{address(ticket_type)}capacity/"
    for bad in (-7, -(2**70), 10**9, 2**70, 0, "1", 1.5, True, None):
        check_invalid(organiser.post(change, json={"change": bad}), "change")
    check_invalid(organiser.post(change, json={}), "change")
    assert left(organiser, ticket_type["id"]) == 6
    withdrawn = organiser.post(change, json={"change": -6})
    assert (withdrawn.status_code, withdrawn.json()["capacity"]) == (200, 0)


def test_post_capacity_is_recorded_so_the_audit_still_adds_up(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=3)
    buy(buyer, ticket_type["id"], 2, **WAIT)
    for by in (20, -11):
        organiser.post(f"{address(ticket_type)}capacity/", json={"change": by})
    assert buy(buyer, ticket_type["id"], 5, **WAIT).status_code == 201
    with shop.database() as statements:
        statements.execute(
            "SELECT ledger.kind::text, change, left_after, user_id"
            " FROM ledger JOIN requests ON requests.id = command_id"
            " WHERE ledger.event_id = %s ORDER BY number",
            (ticket_type["event"],),
        )
        me, they = (one.get("/api/users/me/").json()["id"] for one in (organiser, buyer))
        assert statements.fetchall() == [
            ("issued", 3, 3, me),
            ("confirmed", -2, 1, they),
            ("issued", 20, 21, me),
            ("withdrawn", -11, 10, me),
            ("confirmed", -5, 5, they),
        ]
    report = shop.audit()
    assert report["ok"], report


def test_put_or_patch_of_capacity_once_something_was_sold_needs_if_match_else_428(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=10)
    form = ticket_type_fields(ticket_type["event"], capacity=10)
    assert organiser.put(address(ticket_type), json=form).status_code == 200  # nothing sold yet
    buy(buyer, ticket_type["id"], 2, **WAIT)
    for answer in (
        organiser.put(address(ticket_type), json=form),
        organiser.patch(address(ticket_type), json={"capacity": 10}),
    ):
        check_problem(answer, 428, "precondition_required")
    assert left(organiser, ticket_type["id"]) == 8
    # What is no capacity needs none.
    assert organiser.patch(address(ticket_type), json={"name": "Seated"}).status_code == 200
    for method, body in (("PUT", form | {"capacity": 20}), ("PATCH", {"capacity": 30})):
        fresh = {"If-Match": organiser.get(address(ticket_type)).headers["ETag"]}
        answer = organiser.request(method, address(ticket_type), json=body, headers=fresh)
        assert (answer.status_code, answer.json()["capacity"]) == (200, body["capacity"])


def test_put_or_patch_of_capacity_once_something_is_queued_needs_if_match_else_428(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    form: dict[str, Any] = ticket_type_fields(new_event(organiser), capacity=1)
    for method, body in (("PUT", form), ("PATCH", {"capacity": 1})):
        ticket_type = create(organiser, TICKET_TYPES, form)
        with shop.decisions_suspended():
            # It will be rejected: that it is queued is the only thing against the form.
            assert buy(buyer, ticket_type["id"], 2).status_code == 202
            answer = organiser.request(method, address(ticket_type), json=body)
        check_problem(answer, 428, "precondition_required")


def test_a_sale_makes_only_those_etags_stale_that_set_the_capacity(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=10)
    path = address(ticket_type)
    form = ticket_type_fields(ticket_type["event"], capacity=10)
    for method, action, body in (
        ("PATCH", "", {"price": "5.00"}),
        ("POST", "capacity/", {"change": 3}),
        ("POST", "pause/", None),
    ):
        read = organiser.get(path).headers["ETag"]
        buy(buyer, ticket_type["id"], **WAIT)
        # The representation has changed, and so has its tag: no reader keeps a stale one.
        assert organiser.get(path, headers={"If-None-Match": read}).status_code == 200
        stale = {"If-Match": read}
        for answer in (
            organiser.put(path, json=form, headers=stale),
            organiser.patch(path, json={"capacity": 10, "price": "6.00"}, headers=stale),
        ):
            check_problem(answer, 412, "precondition_failed")
        answer = organiser.request(method, path + action, json=body, headers=stale)
        assert answer.status_code == 200, answer.text
        assert answer.headers["ETag"] == organiser.get(path).headers["ETag"]
    assert left(organiser, ticket_type["id"]) == 10


def test_post_capacity_makes_every_other_etag_stale(organiser: httpx.Client) -> None:
    path = address(new_type(organiser, capacity=10))
    read = {"If-Match": organiser.get(path).headers["ETag"]}
    assert organiser.post(f"{path}capacity/", json={"change": 3}, headers=read).status_code == 200
    # The same request again is harmless, and another's form is old.
    for answer in (
        organiser.post(f"{path}capacity/", json={"change": 3}, headers=read),
        organiser.patch(path, json={"name": "Late"}, headers=read),
    ):
        check_problem(answer, 412, "precondition_failed")
    assert organiser.get(path).json()["capacity"] == 13


def test_a_stale_form_cannot_put_sold_tickets_back_on_sale(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    ticket_type = new_type(organiser, capacity=2)
    opened = organiser.get(address(ticket_type))
    assert buy(buyer, ticket_type["id"], 2, **WAIT).status_code == 201
    # The organiser only mended the name, in a form that was opened before the sale.
    form = opened.json() | {"name": "Seated"}
    with_etag = {"If-Match": opened.headers["ETag"]}
    assert organiser.put(address(ticket_type), json=form).status_code == 428
    assert organiser.put(address(ticket_type), json=form, headers=with_etag).status_code == 412
    assert left(organiser, ticket_type["id"]) == 0
    check_problem(buy(buyer, ticket_type["id"]), 400, "not_enough_tickets")
