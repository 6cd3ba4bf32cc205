"""Purchases of several ticket types of one event: all of them or none."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.purchases import RESULT_KEY_PREFIX, unpack_result
from tests.support.event_streams import events_of
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    WAIT,
    OnSale,
    buy,
    buy_cart,
    left,
    new_key,
    put_types_on_sale,
    sale_held,
)

TIME = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"'


def stored(buyer: httpx.Client, **query: Any) -> list[str]:
    page = buyer.get(PURCHASES, params=query).json()
    assert page["count"] == len(page["results"])
    return [purchase["id"] for purchase in page["results"]]


def lefts(client: httpx.Client, *ticket_types: int) -> list[int]:
    return [left(client, ticket_type) for ticket_type in ticket_types]


# --- accepted and decided ---


def test_a_cart_is_accepted_with_its_items_and_confirmed_whole(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    adult, child, free = put_types_on_sale(
        organiser, {"price": "25.00"}, {"price": "12.50"}, {"price": "0.00"}
    )
    with sale_held(shop.database_url, adult):
        accepted = buy_cart(buyer, (child, 1), (adult, 2), (free, 3))
    assert accepted.status_code == 202
    queued = accepted.json()
    event = organiser.get(f"{TICKET_TYPES}{adult}/").json()["event"]
    assert queued == queued | {
        "ticket_type": None,
        "event": event,
        "quantity": None,
        "unit_price": None,
        "total_price": "62.50",
        "status": "queued",
        "reason": None,
        "decided_at": None,
        "currency": "EUR",
        "short": None,
        "position": 0,
    }
    assert queued["items"] == [
        {"ticket_type": child, "quantity": 1, "unit_price": "12.50", "total_price": "12.50"},
        {"ticket_type": adult, "quantity": 2, "unit_price": "25.00", "total_price": "50.00"},
        {"ticket_type": free, "quantity": 3, "unit_price": "0.00", "total_price": "0.00"},
    ]
    confirmed = buyer.get(accepted.headers["Location"], params={"wait": 20}).json()
    for name in ("position", "estimated_wait_seconds"):
        del queued[name]
    assert confirmed["decided_at"] >= confirmed["created_at"]
    assert confirmed == queued | {"status": "confirmed", "decided_at": confirmed["decided_at"]}
    assert lefts(buyer, adult, child, free) == [8, 9, 7]


def test_prefer_wait_answers_201_with_the_cart(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    lines = [(id_, 1) for id_ in put_types_on_sale(organiser, *[{}] * 10)]
    confirmed = buy_cart(buyer, *lines, headers=WAIT)
    assert confirmed.status_code == 201
    assert confirmed.json() == buyer.get(confirmed.headers["Location"]).json()
    items = [(item["ticket_type"], item["quantity"]) for item in confirmed.json()["items"]]
    assert items == lines


def test_a_cart_of_which_a_line_does_not_fit_is_rejected_whole(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    adult, child, free = put_types_on_sale(organiser, {"capacity": 3}, {}, {"capacity": 1})
    header = new_key()
    rejected = buy_cart(buyer, (free, 2), (child, 1), (adult, 4), headers=header | WAIT)
    problem = check_problem(rejected, 400, "not_enough_tickets")
    assert problem["short"] == [
        {"ticket_type": free, "quantity": 2, "left": 1},
        {"ticket_type": adult, "quantity": 4, "left": 3},
    ]
    purchase = buyer.get(f"{PURCHASES}{problem['id']}/").json()
    assert (purchase["status"], purchase["reason"]) == ("rejected", "not_enough_tickets")
    assert purchase["short"] == problem["short"]
    assert lefts(buyer, adult, child, free) == [3, 10, 1]
    again = buy_cart(buyer, (free, 2), (child, 1), (adult, 4), headers=header)
    assert check_problem(again, 400, "not_enough_tickets") == problem
    assert again.headers["Idempotency-Replayed"] == "true"
    # What is left is sold to whoever asks for less.
    assert buy_cart(buyer, (free, 1), (adult, 3), headers=WAIT).status_code == 201


def test_a_rejected_purchase_of_one_line_says_what_was_left(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(3)
    short = [{"ticket_type": ticket_type, "quantity": 4, "left": 3}]
    problem = check_problem(buy(buyer, ticket_type, 4, **WAIT), 400, "not_enough_tickets")
    assert problem["short"] == short
    assert buyer.get(f"{PURCHASES}{problem['id']}/").json()["short"] == short


def test_carts_and_single_purchases_of_an_event_are_decided_in_their_order(
    shop: Shop, organiser: httpx.Client
) -> None:
    one, other = put_types_on_sale(organiser, {"capacity": 2}, {"capacity": 2})
    buyers = shop.users(4)
    with sale_held(shop.database_url, one):
        answers = [
            buy_cart(buyers[0], (other, 1), (one, 1)),
            buy_cart(buyers[1], (one, 2), (other, 1)),
            buy(buyers[2], one, 1),
            buy_cart(buyers[3], (one, 1), (other, 1)),
        ]
    assert [answer.json()["position"] for answer in answers] == [0, 1, 2, 3]
    decided = [
        buyer.get(answer.headers["Location"], params={"wait": 20}).json()
        for buyer, answer in zip(buyers, answers, strict=True)
    ]
    statuses = [purchase["status"] for purchase in decided]
    assert statuses == ["confirmed", "rejected", "confirmed", "rejected"]
    shorts = [[(s["ticket_type"], s["left"]) for s in p["short"] or ()] for p in decided]
    assert shorts == [[], [(one, 1)], [], [(one, 0)]]
    assert lefts(buyers[0], one, other) == [0, 1]


# --- refused ---


def test_the_form_of_items_is_checked_by_field(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    line = {"ticket_type": ticket_type, "quantity": 1}
    eleven = [line | {"ticket_type": ticket_type + n} for n in range(11)]
    for items in ([], eleven, None, "x", 1, line):
        check_invalid(buyer.post(PURCHASES, json={"items": items}), "items")
    check_invalid(buyer.post(PURCHASES, json={"items": [line], **line}), "items")
    for lines, fields in (
        ([line, line], ["items.1.ticket_type"]),
        ([line | {"quantity": 0}], ["items.0.quantity"]),
        ([line | {"quantity": "1"}, {}], ["items.0.quantity", *both(1)]),
        ([1, line | {"seat": "A1"}], ["items.0", "items.1.seat"]),
    ):
        check_invalid(buyer.post(PURCHASES, json={"items": lines}), *fields)
    check_invalid(buyer.post(PURCHASES, json={"items": [line], "note": ""}), "note")
    assert stored(buyer) == []


def both(line: int) -> list[str]:
    return [f"items.{line}.{field}" for field in ("ticket_type", "quantity")]


def test_items_of_one_event_that_exist_and_fit_its_limit_else_400_by_field(
    organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    one, few = put_types_on_sale(organiser, {}, {"max_per_purchase": 2})
    elsewhere, unknown = on_sale(10), 2**63 - 1
    for lines, fields in (
        ([(unknown, 1)], ["items.0.ticket_type"]),
        ([(few, 3)], ["items.0.quantity"]),
        ([(one, 1), (elsewhere, 1)], ["items.1.ticket_type"]),
        ([(elsewhere, 1), (one, 11), (few, 3)], [*both(1), *both(2)]),
        ([(unknown, 1), (one, 1), (few, 3)], ["items.0.ticket_type", "items.2.quantity"]),
        ([(unknown, 1), (one, 1), (elsewhere, 1)], [f"items.{n}.ticket_type" for n in (0, 2)]),
    ):
        check_invalid(buy_cart(buyer, *lines, headers=WAIT), *fields)
    assert stored(buyer) == []
    assert lefts(buyer, one, few, elsewhere) == [10, 10, 10]


def test_of_several_sales_the_one_that_stays_shut_longest_is_the_answer(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    now = datetime.now(UTC)
    soon, later = (
        {"sales_start": (now + timedelta(minutes=minutes)).isoformat()} for minutes in (5, 20)
    )
    over = {"sales_end": (now - timedelta(minutes=5)).isoformat()}
    types = put_types_on_sale(organiser, {}, {"capacity": 0}, {}, soon, later, over)
    on_sale, sold_out, paused, opens_soon, opens_later, closed = types
    assert organiser.post(f"{TICKET_TYPES}{paused}/pause/").status_code == 200
    lines = [(on_sale, 1)]
    for ticket_type, code in (
        (sold_out, "not_enough_tickets"),
        (paused, "sale_paused"),
        (opens_soon, "sale_not_open"),
        (opens_later, "sale_not_open"),
        (closed, "sale_closed"),
    ):
        lines.append((ticket_type, 1))
        refused = buy_cart(buyer, *lines)
        problem = check_problem(refused, 400, code)
        assert "id" not in problem
        if ticket_type == sold_out:
            assert problem["short"] == [{"ticket_type": sold_out, "quantity": 1, "left": 0}]
        if ticket_type == opens_later:
            assert 1_190 <= int(refused.headers["Retry-After"]) <= 1_200
    assert stored(buyer) == []


def test_the_limits_of_a_user_count_for_each_type_and_for_the_event(
    shop: Shop, organiser: httpx.Client
) -> None:
    buyer, other = shop.users(2)
    limited, free = put_types_on_sale(organiser, {"max_per_user": 2}, {}, max_per_user=4)
    event = organiser.get(f"{TICKET_TYPES}{free}/").json()["event"]

    def bought(*lines: tuple[int, int], by: httpx.Client = buyer) -> bool:
        answer = buy_cart(by, *lines, headers=WAIT)
        if answer.status_code != 201:
            problem = check_problem(answer, 400, "over_user_limit")
            assert "short" not in problem
            assert buyer.get(f"{PURCHASES}{problem['id']}/").json()["short"] is None
        return answer.status_code == 201

    assert not bought((free, 1), (limited, 3))
    assert not bought((free, 3), (limited, 2))
    assert bought((free, 1), (limited, 1))
    assert not bought((free, 1), (limited, 2))
    assert bought((limited, 1))
    assert bought((free, 1))
    assert not bought((free, 1))
    assert bought((free, 2), (limited, 2), by=other)
    for limit, outcome in ((5, True), (5, False), (None, True)):
        patched = organiser.patch(f"{EVENTS}{event}/", json={"max_per_user": limit})
        assert patched.status_code == 200
        assert bought((free, 1)) is outcome
    assert lefts(buyer, limited, free) == [6, 4]


# --- keys ---


def test_one_line_has_one_key_in_both_forms(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    for forms in ((0, 1), (1, 0)):
        header = new_key() | WAIT
        first, again = (
            buy_cart(buyer, (ticket_type, 2), headers=header)
            if as_items
            else buy(buyer, ticket_type, 2, **header)
            for as_items in forms
        )
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.content == first.content
    assert left(buyer, ticket_type) == 6


def test_a_cart_is_replayed_and_other_lines_or_another_order_answer_422(
    organiser: httpx.Client, buyer: httpx.Client
) -> None:
    one, other = put_types_on_sale(organiser, {}, {})
    header = new_key()
    first = buy_cart(buyer, (one, 1), (other, 2), headers=header | WAIT)
    again = buy_cart(buyer, (one, 1), (other, 2), headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content == first.content
    for lines in (
        [(other, 2), (one, 1)],
        [(one, 1), (other, 1)],
        [(one, 1)],
        [(one, 1), (other, 2), (2**62, 1)],
    ):
        check_problem(buy_cart(buyer, *lines, headers=header), 422, "idempotency_key_reused")
    check_problem(buy(buyer, one, 1, **header), 422, "idempotency_key_reused")
    assert lefts(buyer, one, other) == [9, 8]


# --- read ---


@pytest.fixture
def redis(shop: Shop) -> Iterator[Redis]:
    with closing(Redis.from_url(shop.redis_url)) as client:
        yield client


def test_redis_and_postgresql_give_the_same_bytes(
    organiser: httpx.Client, buyer: httpx.Client, redis: Redis
) -> None:
    one, other = put_types_on_sale(organiser, {"price": "0.10"}, {"capacity": 2}, max_per_user=9)
    answers = [
        buy_cart(buyer, (one, 3), (other, 1), headers=WAIT),
        buy_cart(buyer, (other, 2), (one, 8), headers=WAIT),
        buy_cart(buyer, (one, 6), (other, 1), headers=WAIT),
        buy(buyer, one, 2, **WAIT),
        buy(buyer, other, 2, **WAIT),
    ]
    assert [answer.status_code for answer in answers] == [201, 400, 400, 201, 400]
    for answer in answers:
        id_ = answer.json()["id"]
        name = f"{RESULT_KEY_PREFIX}{id_}"

        def published(name: str = name) -> bytes:
            value = redis.get(name)
            assert isinstance(value, bytes)
            return value

        result = unpack_result(eventually(published))
        assert result is not None
        assert buyer.get(f"{PURCHASES}{id_}/").content == result[1]
        redis.delete(name)
        assert buyer.get(f"{PURCHASES}{id_}/").content == result[1]
    page = buyer.get(PURCHASES).json()["results"]
    assert page == [buyer.get(f"{PURCHASES}{a.json()['id']}/").json() for a in reversed(answers)]


def test_lists_find_a_cart_by_each_of_its_ticket_types(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    one, other, third = put_types_on_sale(organiser, {}, {"capacity": 2}, {})
    confirmed = buy_cart(buyer, (other, 2), (one, 2), headers=WAIT).json()["id"]
    single = buy(buyer, one, 1, **WAIT).json()["id"]
    rejected = buy_cart(buyer, (one, 9), (third, 1), headers=WAIT).json()["id"]
    with sale_held(shop.database_url, one):
        queued = buy_cart(buyer, (third, 1), (one, 1)).json()["id"]
        assert stored(buyer) == [queued, rejected, single, confirmed]
        assert stored(buyer, ticket_type=one) == [queued, rejected, single, confirmed]
        assert stored(buyer, ticket_type=other) == [confirmed]
        assert stored(buyer, ticket_type=third) == [queued, rejected]
        assert stored(buyer, status="queued") == [queued]
        assert stored(buyer, status="queued", ticket_type=other) == []
        assert stored(buyer, status="rejected", ticket_type=third) == [rejected]
        assert stored(buyer, status="confirmed", ticket_type=one) == [single, confirmed]


def test_prefer_wait_undecided_answers_202_with_the_cart(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    one, other = put_types_on_sale(organiser, {}, {})
    with sale_held(shop.database_url, one):
        answer = buy_cart(buyer, (one, 1), (other, 1), headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert (answer.json()["status"], len(answer.json()["items"])) == ("queued", 2)
    assert int(answer.headers["Retry-After"]) >= 1


def test_an_event_stream_ends_with_the_outcome_of_the_cart(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    one, other = put_types_on_sale(organiser, {}, {"capacity": 1})

    def listen(address: str) -> httpx.Response:
        return buyer.get(address, headers={"Accept": "text/event-stream"}, timeout=40)

    with ThreadPoolExecutor(1) as pool:
        with sale_held(shop.database_url, one):
            address = buy_cart(buyer, (one, 1), (other, 2)).headers["Location"]
            listening = pool.submit(listen, address)
        events = list(events_of(listening.result().text.splitlines()))
    assert events[-1].event == "outcome"
    purchase = buyer.get(address)
    assert events[-1].data == purchase.text
    assert purchase.json()["short"] == [{"ticket_type": other, "quantity": 2, "left": 1}]


def test_the_first_contracts_body_stays_to_the_byte_with_new_fields_behind(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        accepted = buy(buyer, ticket_type, 2)
    confirmed = buyer.get(accepted.headers["Location"], params={"wait": 20})
    event = buyer.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
    body = (
        rf'{{"id":"[0-9a-f-]{{36}}","ticket_type":{ticket_type},"event":{event},"quantity":2,'
        r'"unit_price":"25.00","total_price":"50.00","status":"STATUS","reason":null,'
        rf'"created_at":{TIME},"decided_at":DECIDED,'
        rf'"items":\[{{"ticket_type":{ticket_type},"quantity":2,"unit_price":"25.00",'
        r'"total_price":"50.00"}\],"currency":"EUR","short":null'
    )
    queued = body.replace("STATUS", "queued").replace("DECIDED", "null")
    assert re.fullmatch(
        queued + r',"position":0,"estimated_wait_seconds":[0-9.]+}', accepted.text
    ), accepted.text
    decided = body.replace("STATUS", "confirmed").replace("DECIDED", TIME)
    assert re.fullmatch(decided + "}", confirmed.text), confirmed.text


def test_price_and_currency_are_those_at_acceptance(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    one, other = put_types_on_sale(organiser, {}, {"price": "1.00"}, currency="CHF")
    event = organiser.get(f"{TICKET_TYPES}{one}/").json()["event"]
    with shop.decisions_suspended():
        accepted = [buy_cart(buyer, (one, 1), (other, 1)), buy(buyer, other, 1)]
        for path, change in (
            (f"{EVENTS}{event}/", {"currency": "JPY"}),
            (f"{TICKET_TYPES}{other}/", {"price": "2.00"}),
        ):
            assert organiser.patch(path, json=change).status_code == 200
    for answer, total in zip(accepted, ("26.00", "1.00"), strict=True):
        decided = buyer.get(answer.headers["Location"], params={"wait": 20}).json()
        assert (decided["currency"], decided["total_price"]) == ("CHF", total)
    later = buy_cart(buyer, (one, 1), (other, 1), headers=WAIT).json()
    assert (later["currency"], later["total_price"]) == ("JPY", "27.00")
