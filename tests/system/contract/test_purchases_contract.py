"""Purchases."""

import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx

from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.conftest import BACKLOG_MAX_ROWS, database_unavailable, until_ready
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import PURCHASES, WAIT, OnSale, buy, left, new_key, put_on_sale, sale_held

BODY = {
    *("id", "ticket_type", "event", "quantity", "unit_price", "total_price", "status"),
    *("reason", "created_at", "decided_at", "items", "currency", "short"),
}


# --- the optional headers ---


def test_idempotency_key_is_1_to_255_printable_characters(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    for bad in (b"", b'""', b"x" * 256, b'"' + b"x" * 256 + b'"', b"caf\xe9", b"a\tb"):
        answer = buyer.post(
            PURCHASES,
            json={"ticket_type": ticket_type, "quantity": 1},
            headers=[(b"Idempotency-Key", bad)],
        )
        check_invalid(answer, "Idempotency-Key")
    for good in ("x", '"~ !"', f'"{"x" * 255}"'):
        assert buy(buyer, ticket_type, **{"Idempotency-Key": good}).status_code == 202


def test_prefer_wait_n_is_at_most_30(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10)
    for asked, granted in (
        ("wait=30", "wait=30"),
        ("wait=31", "wait=30"),
        ("wait=99999", "wait=30"),
    ):
        assert buy(buyer, ticket_type, Prefer=asked).headers["Preference-Applied"] == granted
    for ignored in ("wait=0", "wait=soon", "wait", "respond-async", "awaits=9"):
        answer = buy(buyer, ticket_type, Prefer=ignored)
        assert (answer.status_code, answer.headers.get("Preference-Applied")) == (202, None)


# --- the table ---


def test_accepted_answers_202_with_location_retry_after_and_a_queued_body(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    accepted = buy(buyer, on_sale(10), 2)
    assert accepted.status_code == 202
    assert accepted.headers["Content-Type"] == "application/json"
    assert accepted.headers["Location"] == f"{PURCHASES}{accepted.json()['id']}/"
    assert int(accepted.headers["Retry-After"]) >= 1
    assert accepted.json()["status"] == "queued"
    assert "Preference-Applied" not in accepted.headers
    assert "Idempotency-Replayed" not in accepted.headers
    assert buyer.get(accepted.headers["Location"]).json()["id"] == accepted.json()["id"]


def test_prefer_wait_confirmed_in_time_answers_201_with_preference_applied(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    confirmed = buy(buyer, on_sale(10), 2, Prefer="wait=20")
    assert confirmed.status_code == 201
    assert confirmed.headers["Preference-Applied"] == "wait=20"
    assert confirmed.headers["Location"] == f"{PURCHASES}{confirmed.json()['id']}/"
    assert "Retry-After" not in confirmed.headers
    assert confirmed.json()["status"] == "confirmed"


def test_prefer_wait_rejected_in_time_answers_400_with_the_purchases_id(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(3)
    rejected = buy(buyer, ticket_type, 4, Prefer="wait=20")
    problem = check_problem(rejected, 400, "not_enough_tickets")
    assert problem["detail"] == "Not enough tickets available"
    assert rejected.headers["Preference-Applied"] == "wait=20"
    stored = buyer.get(f"{PURCHASES}{problem['id']}/").json()
    assert (stored["status"], stored["reason"]) == ("rejected", "not_enough_tickets")
    assert left(buyer, ticket_type) == 3


def test_prefer_wait_undecided_after_n_s_answers_202(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        undecided = buy(buyer, ticket_type, Prefer="wait=1")
    assert undecided.status_code == 202
    assert 1 <= undecided.elapsed.total_seconds() < 10
    assert undecided.json()["status"] == "queued"
    assert int(undecided.headers["Retry-After"]) >= 1
    assert undecided.headers["Location"] == f"{PURCHASES}{undecided.json()['id']}/"


def test_same_key_same_body_gives_the_same_purchase_as_it_stands_now(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type, header = on_sale(10), new_key()
    with sale_held(shop.database_url, ticket_type):
        first, queued = (buy(buyer, ticket_type, 2, **header) for _ in range(2))
    decided = buy(buyer, ticket_type, 2, **header, **WAIT)
    again = buy(buyer, ticket_type, 2, **header)
    answers = (first, queued, decided, again)
    assert [answer.status_code for answer in answers] == [202, 202, 201, 201]
    assert "Idempotency-Replayed" not in first.headers
    for replayed, status in ((queued, "queued"), (decided, "confirmed"), (again, "confirmed")):
        assert replayed.headers["Idempotency-Replayed"] == "true"
        assert replayed.headers["Location"] == first.headers["Location"]
        assert replayed.json()["id"] == first.json()["id"]
        assert replayed.json()["status"] == status
    assert again.json() == decided.json()
    assert left(buyer, ticket_type) == 8


def test_same_key_after_a_rejection_answers_400_as_the_first_try_did(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    few, limited = on_sale(3), on_sale(10, max_per_user=1)
    for ticket_type, code in ((few, "not_enough_tickets"), (limited, "over_user_limit")):
        header = new_key()
        first = buy(buyer, ticket_type, 4, **header, **WAIT)
        problem = check_problem(first, 400, code)
        for again in (buy(buyer, ticket_type, 4, **header, **more) for more in ({}, WAIT)):
            assert check_problem(again, 400, code) == problem
            assert again.headers["Idempotency-Replayed"] == "true"
            assert again.headers["Location"] == first.headers["Location"]
        assert "Idempotency-Replayed" not in first.headers


def test_same_key_other_body_answers_422(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type, header = on_sale(10), new_key()
    first = buy(buyer, ticket_type, 2, **header, **WAIT)
    check_problem(buy(buyer, ticket_type, 3, **header), 422, "idempotency_key_reused")
    check_problem(buy(buyer, on_sale(10), 2, **header), 422, "idempotency_key_reused")
    assert [p["id"] for p in buyer.get(PURCHASES).json()["results"]] == [first.json()["id"]]


def test_sold_out_already_answers_400_not_enough_tickets_at_once_with_nothing_stored(
    organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type, header = on_sale(0), new_key()
    problem = check_problem(buy(buyer, ticket_type, **header), 400, "not_enough_tickets")
    assert problem["detail"] == "Not enough tickets available"
    assert "id" not in problem
    assert buyer.get(PURCHASES).json()["count"] == 0
    # Not even the key was kept: with tickets added, it buys.
    organiser.post(f"/api/ticket-types/{ticket_type}/capacity/", json={"change": 1})
    bought = buy(buyer, ticket_type, **header, **WAIT)
    assert (bought.status_code, bought.headers.get("Idempotency-Replayed")) == (201, None)


def test_unknown_ticket_type_answers_400_by_field(buyer: httpx.Client) -> None:
    for unknown in (2**63 - 1, 2**63, 0, -1, 1e300, True, 1.5, "1", None, [1]):
        answer = buyer.post(PURCHASES, json={"ticket_type": unknown, "quantity": 1})
        check_invalid(answer, "ticket_type")
    check_invalid(buyer.post(PURCHASES, json={}), "ticket_type", "quantity")


def test_quantity_under_1_over_max_per_purchase_or_no_integer_answers_400_by_field(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(100, max_per_purchase=4)
    numbers = ("0", "-1", "5", "2147483648", "99999999999999999999", "1e300")
    for quantity in (*numbers, "true", "1.5", "2.0", '"2"', "null", "[1]"):
        body = f'{{"ticket_type": {ticket_type}, "quantity": {quantity}}}'
        check_invalid(buyer.post(PURCHASES, content=body), "quantity")
    assert buy(buyer, ticket_type, 4, **WAIT).status_code == 201
    assert buyer.get(PURCHASES).json()["count"] == 1


def test_sale_not_open_yet_answers_400_sale_not_open_with_retry_after_where_it_will_open(
    buyer: httpx.Client, on_sale: OnSale
) -> None:
    now = datetime.now(UTC)
    for opens, seconds in (
        (now + timedelta(minutes=5), 300),
        (now + timedelta(days=30), 86_400),
        (datetime(9999, 12, 31, tzinfo=UTC), 86_400),
    ):
        answer = buy(buyer, on_sale(10, sales_start=opens.isoformat()))
        check_problem(answer, 400, "sale_not_open")
        assert seconds - 10 <= int(answer.headers["Retry-After"]) <= seconds


def test_sale_over_answers_400_sale_closed(buyer: httpx.Client, on_sale: OnSale) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=5)
    answer = buy(buyer, on_sale(10, sales_end=ended.isoformat()))
    check_problem(answer, 400, "sale_closed")
    assert "Retry-After" not in answer.headers


def test_an_event_that_has_ended_answers_400_sale_closed(
    organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type, header = on_sale(10), new_key()
    first = buy(buyer, ticket_type, **header, **WAIT)
    event = organiser.get(f"/api/ticket-types/{ticket_type}/").json()["event"]
    now = datetime.now(UTC)
    times = {"start_time": now - timedelta(hours=3), "end_time": now - timedelta(seconds=1)}
    ended = {name: moment.isoformat() for name, moment in times.items()}
    assert organiser.patch(f"/api/events/{event}/", json=ended).status_code == 200
    check_problem(buy(buyer, ticket_type), 400, "sale_closed")
    replayed = buy(buyer, ticket_type, **header)
    assert (replayed.status_code, replayed.json()) == (201, first.json())


def test_too_many_requests_of_one_user_answers_429_with_retry_after_and_ratelimit_headers(
    shop: Shop, on_sale: OnSale
) -> None:
    ticket_type = on_sale(1_000)
    greedy, patient = shop.users(2)
    answers = [buy(greedy, ticket_type) for _ in range(60)]
    assert {answer.status_code for answer in answers} == {202, 429}
    refusal = next(answer for answer in answers if answer.status_code == 429)
    check_problem(refusal, 429, "too_many_requests")
    assert int(refusal.headers["Retry-After"]) >= 1
    for answer in answers:
        assert re.fullmatch(r'"purchases";r=\d+(;t=\d+)?', answer.headers["RateLimit"])
        assert re.fullmatch(r'"purchases";q=\d+;w=\d+', answer.headers["RateLimit-Policy"])
    # The limit is each user's own.
    assert buy(patient, ticket_type).status_code == 202


def test_body_too_large_answers_413(buyer: httpx.Client) -> None:
    body = b" " * 100_000
    for content in (body, iter([body])):
        check_problem(buyer.post(PURCHASES, content=content), 413, "body_too_large")


def test_body_not_json_answers_400(buyer: httpx.Client) -> None:
    for body in (
        b"",
        b"{",
        b'{"ticket_type": 1, "quantity": 1',
        b"\xff",
        b"a=b",
        b"NaN",
        b"[" * 20_000,
    ):
        check_problem(buyer.post(PURCHASES, content=body), 400, "malformed_body")
    for body in (b"[]", b"1", b"1e400", b"null", b'"x"'):  # JSON, yet no object
        check_invalid(buyer.post(PURCHASES, content=body), "body")


def test_database_unavailable_answers_503_with_retry_after_safe_to_retry_with_the_same_key(
    fragile_shop: Shop,
) -> None:
    organiser, buyer = fragile_shop.users(2)
    ticket_type, header = put_on_sale(organiser, 10), new_key()
    with database_unavailable(fragile_shop):
        answers = [buy(buyer, ticket_type, 2, **header) for _ in range(3)]
    for answer in answers:
        check_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    _retrying_buys_once(buyer, ticket_type, header)


def test_backlog_full_answers_503_with_retry_after_safe_to_retry_with_the_same_key(
    fragile_shop: Shop,
) -> None:
    organiser, crowd, buyer = fragile_shop.users(3)
    crowded, ticket_type = put_on_sale(organiser, 1_000), put_on_sale(organiser, 10)
    header = new_key()

    def answered(status: int) -> None:
        assert buy(crowd, crowded).status_code == status

    with sale_held(fragile_shop.database_url, crowded):
        for _ in range(BACKLOG_MAX_ROWS):
            answered(202)
        eventually(lambda: answered(503))
        answer = buy(buyer, ticket_type, 2, **header)
    check_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: answered(202))
    _retrying_buys_once(buyer, ticket_type, header)


def test_shutting_down_answers_503_with_retry_after_safe_to_retry_with_the_same_key(
    fragile_shop: Shop,
) -> None:
    organiser, buyer = fragile_shop.users(2)
    ticket_type, header = put_on_sale(organiser, 10), new_key()
    url = httpx.URL(fragile_shop.url)
    body = b'{"ticket_type": %d, "quantity": 2}' % ticket_type
    head = buyer.build_request("POST", PURCHASES, content=body, headers=header).headers
    lines = [b"POST %b HTTP/1.1" % PURCHASES.encode(), *(b"%b: %b" % pair for pair in head.raw)]
    gateway = fragile_shop.operator.processes()["gateway-1"]["pid"]
    with socket.create_connection((url.host, url.port or 80)) as line:
        line.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body[:10])
        _is_served(line, fragile_shop)
        os.kill(gateway, signal.SIGTERM)
        eventually(lambda: _takes_no_more(url))
        line.sendall(body[10:])
        answer = b"".join(iter(lambda: line.recv(65_536), b"")).decode()
    assert answer.startswith("HTTP/1.1 503 "), answer
    assert re.search(r"\r\nretry-after: [1-9]", answer, re.IGNORECASE)
    assert '"code":"unavailable"' in answer
    until_ready(fragile_shop)
    _retrying_buys_once(buyer, ticket_type, header)


def _is_served(line: socket.socket, shop: Shop) -> None:
    """The gateway reads its connections in turn: what was sent before this answer was read."""
    assert httpx.get(f"{shop.url}/healthz").status_code == 200
    assert line.fileno() > 0


def _takes_no_more(url: httpx.URL) -> None:
    try:
        socket.create_connection((url.host, url.port or 80)).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("the gateway still takes connections")


def _retrying_buys_once(buyer: httpx.Client, ticket_type: int, header: dict[str, str]) -> None:
    """What was answered with 503 was not accepted; the same key buys now, and buys once."""

    def bought() -> httpx.Response:
        answer = buy(buyer, ticket_type, 2, **header, **WAIT)
        assert answer.status_code == 201, answer.text
        assert "Idempotency-Replayed" not in answer.headers
        return answer

    first = eventually(bought)
    again = buy(buyer, ticket_type, 2, **header, **WAIT)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.json()) == (201, first.json())
    assert left(buyer, ticket_type) == 8


# --- the body ---


def test_body_has_the_purchases_fields(buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type = on_sale(10, price="12.50")
    event = buyer.get(f"/api/ticket-types/{ticket_type}/").json()["event"]
    before = datetime.now(UTC) - timedelta(seconds=1)
    body = buy(buyer, ticket_type, 2, **WAIT).json()
    assert body.keys() == BODY
    assert UUID(body["id"]).version == 7
    assert (body["ticket_type"], body["event"], body["quantity"]) == (ticket_type, event, 2)
    assert (body["unit_price"], body["total_price"]) == ("12.50", "25.00")
    assert (body["status"], body["reason"]) == ("confirmed", None)
    created, decided = (
        datetime.fromisoformat(body[f"{name}_at"]) for name in ("created", "decided")
    )
    assert before <= created <= decided <= datetime.now(UTC) + timedelta(seconds=1)


def test_body_reason_is_null_or_a_code(buyer: httpx.Client, on_sale: OnSale) -> None:
    limited = on_sale(10, max_per_user=2)
    assert buy(buyer, limited, 2, **WAIT).json()["reason"] is None
    assert buy(buyer, limited, 1, **WAIT).json()["code"] == "over_user_limit"
    assert buy(buyer, on_sale(1), 2, **WAIT).json()["code"] == "not_enough_tickets"
    reasons = [p["reason"] for p in buyer.get(PURCHASES).json()["results"]]
    assert reasons == ["not_enough_tickets", "over_user_limit", None]


def test_body_while_queued_has_position_and_estimated_wait_seconds(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        first, second = (buy(buyer, ticket_type) for _ in range(2))
        polled = buyer.get(second.headers["Location"]).json()
        (newest, oldest) = buyer.get(PURCHASES).json()["results"]
    for body, position in ((first.json(), 0), (second.json(), 1), (polled, 1), (newest, 1)):
        assert body.keys() == BODY | {"position", "estimated_wait_seconds"}
        assert (body["status"], body["reason"], body["decided_at"]) == ("queued", None, None)
        assert body["position"] == position
        assert body["estimated_wait_seconds"] >= 0
    assert oldest["position"] == 0


# --- reading ---


def test_get_list_is_ones_own_newest_first(shop: Shop, on_sale: OnSale) -> None:
    mine, other = shop.users(2)
    ticket_type = on_sale(10)
    bought = [buy(mine, ticket_type, n, **WAIT).json() for n in (1, 2, 1)]
    assert mine.get(PURCHASES).json()["results"] == bought[::-1]
    assert other.get(PURCHASES).json()["results"] == []


def test_get_list_status(shop: Shop, buyer: httpx.Client, on_sale: OnSale) -> None:
    ticket_type, held = on_sale(3), on_sale(3)
    confirmed = buy(buyer, ticket_type, 2, **WAIT).json()["id"]
    rejected = buy(buyer, ticket_type, 2, **WAIT).json()["id"]
    with sale_held(shop.database_url, held):
        queued = buy(buyer, held).json()["id"]
        for status, id_ in (("queued", queued), ("confirmed", confirmed), ("rejected", rejected)):
            page = buyer.get(PURCHASES, params={"status": status}).json()
            assert (page["count"], [p["id"] for p in page["results"]]) == (1, [id_])
    check_invalid(buyer.get(PURCHASES, params={"status": "lost"}), "status")


def test_get_list_ticket_type(buyer: httpx.Client, on_sale: OnSale) -> None:
    one, other = on_sale(3), on_sale(3)
    bought = {t: buy(buyer, t, **WAIT).json()["id"] for t in (one, other)}
    for ticket_type, id_ in bought.items():
        page = buyer.get(PURCHASES, params={"ticket_type": ticket_type}).json()
        assert (page["count"], [p["id"] for p in page["results"]]) == (1, [id_])
    check_invalid(buyer.get(PURCHASES, params={"ticket_type": "x"}), "ticket_type")


def test_get_one_answers_200(buyer: httpx.Client, on_sale: OnSale) -> None:
    bought = buy(buyer, on_sale(10), **WAIT).json()
    for id_ in (bought["id"], bought["id"].upper()):
        polled = buyer.get(f"{PURCHASES}{id_}/")
        assert (polled.status_code, polled.json()) == (200, bought)


def test_get_one_with_wait_n_answers_at_the_decision(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with ThreadPoolExecutor(1) as pool:
        with sale_held(shop.database_url, ticket_type):
            address = buy(buyer, ticket_type).headers["Location"]
            asking = pool.submit(buyer.get, address, params={"wait": 25})
            time.sleep(0.3)  # so long it does wait
            assert not asking.done()
        polled = asking.result()
    assert (polled.status_code, polled.json()["status"]) == (200, "confirmed")
    assert 0.3 <= polled.elapsed.total_seconds() < 20


def test_get_one_with_wait_n_answers_after_n_s(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        address = buy(buyer, ticket_type).headers["Location"]
        polled = buyer.get(address, params={"wait": 1})
    assert (polled.status_code, polled.json()["status"]) == (200, "queued")
    assert 1 <= polled.elapsed.total_seconds() < 10
    for no_number in ("soon", "-1", "1.5", ""):
        answer = buyer.get(address, params={"wait": no_number})
        check_invalid(answer, "wait")


def test_get_one_undecided_has_retry_after(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        address = buy(buyer, ticket_type).headers["Location"]
        assert int(buyer.get(address).headers["Retry-After"]) >= 1
    assert "Retry-After" not in buyer.get(address, params={"wait": 20}).headers


def test_get_one_has_an_etag_and_if_none_match_answers_304(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    def unchanged(address: str, tag: str) -> httpx.Response:
        answer = buyer.get(address, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert "Content-Type" not in answer.headers
        return answer

    ticket_type = on_sale(10)
    with sale_held(shop.database_url, ticket_type):
        address = buy(buyer, ticket_type).headers["Location"]
        queued = buyer.get(address).headers["ETag"]
        assert int(unchanged(address, queued).headers["Retry-After"]) >= 1
    decided = buyer.get(address, params={"wait": 20}).headers["ETag"]
    assert decided != queued
    for tag in (decided, f"W/{decided}", f'"other", {decided}', "*"):
        assert unchanged(address, tag).headers["ETag"] == decided
    for stale in (queued, '"other"'):
        assert buyer.get(address, headers={"If-None-Match": stale}).status_code == 200


def test_get_one_that_never_changes_may_be_cached_privately_for_ever(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(1)
    with sale_held(shop.database_url, ticket_type):
        address = buy(buyer, ticket_type, 2).headers["Location"]
        undecided = buyer.get(address)
    decided = buyer.get(address, params={"wait": 20})
    confirmed = buyer.get(buy(buyer, ticket_type, **WAIT).headers["Location"])
    for answer in (undecided, confirmed):  # a confirmed one may be cancelled
        assert answer.headers["Cache-Control"] == "private, no-cache"
    again = buyer.get(address, headers={"If-None-Match": decided.headers["ETag"]})
    for answer in (decided, again):
        directives = set(answer.headers["Cache-Control"].split(", "))
        assert directives == {"private", "max-age=31536000", "immutable"}  # a year: RFC 9111's ever
    for answer in (undecided, decided, again, confirmed):
        assert "Authorization" in answer.headers["Vary"].split(", ")


def test_get_one_as_text_event_stream_gives_position_and_outcome(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10)
    with ThreadPoolExecutor(1) as pool:
        with sale_held(shop.database_url, ticket_type):
            address = buy(buyer, ticket_type).headers["Location"]
            listening = pool.submit(
                buyer.get, address, headers={"Accept": "text/event-stream"}, timeout=20
            )
            time.sleep(0.3)  # so long nothing is decided
            assert not listening.done()
        answer = listening.result()  # the server closes after the outcome
    assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
    events = re.findall(r"^event: (\w+)\nid: \w+\ndata: (.+)$", answer.text, re.MULTILINE)
    assert [name for name, _ in events][:1] == ["position"]
    assert {name for name, _ in events[:-1]} == {"position"}
    name, data = events[-1]
    assert (name, httpx.Response(200, text=data).json()) == ("outcome", buyer.get(address).json())
