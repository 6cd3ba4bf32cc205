"""Conventions of all routes."""

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from shared.version import VERSION
from shared.web.pagination import BEYOND_THE_END
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.conftest import database_unavailable, until_ready
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.contract.routes import METHODS, ROUTES, UNKNOWN_PURCHASE
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    WAIT,
    OnSale,
    buy,
    create,
    event_fields,
    put_on_sale,
    sale_held,
    ticket_type_fields,
)

PASSWORD = "velvet-tram-42"
SERVERS = {"postgres", "valkey"}  # their logs are their own
TRACE_OR_SQL = re.compile(
    r"Traceback|\bSELECT\b.+\bFROM\b|\bINSERT INTO\b|\bUPDATE \w+ SET\b|psycopg2\.errors"
)
RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


# --- lists ---


def test_lists_page(shop: Shop, on_sale: OnSale) -> None:
    user = shop.user()
    ticket_type = on_sale(10)
    empty = user.get(EVENTS, params={"owner": "me"}).json()
    assert empty == {"count": 0, "next": None, "previous": None, "results": []}
    bought = [buy(user, ticket_type, **WAIT).json() for _ in range(3)][::-1]
    events = [create(user, EVENTS, event_fields()) for _ in range(3)]
    types = [create(user, TICKET_TYPES, ticket_type_fields(events[0]["id"])) for _ in range(3)]
    for path, query, rows in (
        (EVENTS, {"owner": "me"}, events),
        (TICKET_TYPES, {"event": str(events[0]["id"])}, types),
        (PURCHASES, {"status": "confirmed"}, bought),
    ):
        first = user.get(path, params=query | {"page_size": "2"}).json()
        assert (first["count"], first["results"], first["previous"]) == (3, rows[:2], None)
        assert first.keys() == empty.keys()
        second = user.get(first["next"]).json()
        assert (second["count"], second["results"], second["next"]) == (3, rows[2:], None)
        assert user.get(second["previous"]).json() == first
        assert user.get(path, params=query | {"page_size": "2", "page": "2"}).json() == second
        assert first["next"].startswith(f"{shop.url}{path}?")
        from_start = query | {"page_size": "2", "cursor": ""}
        first = user.get(path, params=from_start).json()
        assert (first.keys(), first["results"]) == ({"next", "results"}, rows[:2])
        assert user.get(first["next"]).json() == {"next": None, "results": rows[2:]}
        assert user.get(path, params=query | {"cursor": ""}).json()["next"] is None
        check_invalid(user.get(path, params=from_start | {"page": "1"}), "cursor")
        check_invalid(user.get(path, params=from_start | {"cursor": "x"}), "cursor")
        for beyond in ("3", "9" * 30):
            missing = user.get(path, params=query | {"page_size": "2", "page": beyond})
            assert check_problem(missing, 404, "not_found")["detail"] == BEYOND_THE_END
        for bad in ("0", "-1", "x", "", "1.0"):
            check_invalid(user.get(path, params=query | {"page": bad}), "page")


def test_lists_page_size_is_at_most_100(shop: Shop) -> None:
    user = shop.user()
    event = create(user, EVENTS, event_fields())
    ticket_type = put_on_sale(user, 0)
    me = event["owner"]
    with shop.database() as statements:
        statements.execute(
            "INSERT INTO events (title, start_time, end_time, owner_id)"
            " SELECT 'Many', now(), now() + interval '1 hour', %s FROM generate_series(1, 101)",
            (me,),
        )
        statements.execute(
            "INSERT INTO ticket_types (event_id, name, price)"
            " SELECT %s, 'Many', 1 FROM generate_series(1, 101)",
            (event["id"],),
        )
        statements.execute(
            "INSERT INTO requests"
            " (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency)"
            " SELECT gen_random_uuid(), event_id, %s, id, 1, 25, 'EUR'"
            " FROM ticket_types, generate_series(1, 101) WHERE id = %s",
            (me, ticket_type),
        )
    for path, query in (
        (EVENTS, {"owner": "me"}),
        (TICKET_TYPES, {"event": event["id"]}),
        (PURCHASES, {}),
    ):
        for asked, given in ((99, 99), (100, 100), (101, 100), (10**6, 100)):
            page = user.get(path, params=query | {"page_size": asked}).json()
            assert len(page["results"]) == given, (path, asked)
            assert page["next"], (path, asked)
        for bad in ("0", "-1", "x"):
            check_invalid(user.get(path, params=query | {"page_size": bad}), "page_size")


# --- errors ---


@pytest.fixture
def errors(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> dict[int, list[httpx.Response]]:
    """Errors of every status that a client can cause, from each service, by status."""
    ticket_type, visitor = on_sale(10), shop.client()
    key = {"Idempotency-Key": str(uuid4())}
    buy(buyer, ticket_type, **key, **WAIT)
    type_address = f"{TICKET_TYPES}{ticket_type}/"
    event_address = f"{EVENTS}{buyer.get(type_address).json()['event']}/"
    stale = {"If-Match": '"stale"'}
    large = b" " * 100_000
    answers = [
        *(
            client.post(path, json={}, headers={"Content-Encoding": "Identity"})
            for client, path in _posts(visitor, buyer)
        ),
        *(client.post(path, content=b"{") for client, path in _posts(visitor, buyer)),
        *(visitor.get(path) for path in ("/api/users/me/", EVENTS, PURCHASES)),
        visitor.post("/api/token/", json={"username": "nobody", "password": PASSWORD}),
        visitor.post("/api/token/verify/", json={"token": "nonsense"}),
        visitor.post("/api/token/verify/", json={"token": "e30.e30.AAAA"}),
        buyer.patch(event_address, json={"title": "Mine"}),
        *(buyer.get(f"{path}{UNKNOWN_PURCHASE}/") for path in (EVENTS, TICKET_TYPES, PURCHASES)),
        *(visitor.get(path) for path in ("/nothing", "/api/nothing/")),
        *(buyer.request("PROPFIND", path) for path in ROUTES),
        organiser.delete(event_address),
        organiser.patch(type_address, json={"capacity": 1}, headers=stale),
        *(client.post(path, content=large) for client, path in _posts(visitor, buyer)),
        *(
            client.post(path, content=b"{}", headers={"Content-Encoding": coding})
            for client, path in _posts(visitor, buyer)
            for coding in ("gzip", "br", "identity, gzip")
        ),
        buy(buyer, ticket_type, 2, **key),
        organiser.patch(type_address, json={"capacity": 1}),
    ]
    by_status: dict[int, list[httpx.Response]] = {}
    for answer in answers:
        by_status.setdefault(answer.status_code, []).append(answer)
    assert by_status.keys() == {400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 428}
    return by_status


def _posts(visitor: httpx.Client, buyer: httpx.Client) -> Iterator[tuple[httpx.Client, str]]:
    """Every route that reads a body of its own."""
    for path, methods in ROUTES.items():
        if "POST" in methods:
            yield (visitor if path.startswith(("/api/users", "/api/token")) else buyer), path


def test_errors_are_problem_json(errors: dict[int, list[httpx.Response]]) -> None:
    codes = {
        400: {"invalid", "malformed_body"},
        401: {"not_authenticated", "invalid_credentials", "token_malformed", "token_not_valid"},
        403: {"permission_denied"},
        404: {"not_found"},
        405: {"method_not_allowed"},
        409: {"conflict"},
        412: {"precondition_failed"},
        413: {"body_too_large"},
        415: {"unsupported_content_encoding"},
        422: {"idempotency_key_reused"},
        428: {"precondition_required"},
    }
    for status, answers in errors.items():
        for answer in answers:
            check_problem(answer, status, answer.json()["code"])
        assert {answer.json()["code"] for answer in answers} == codes[status]


def test_errors_of_validation_have_messages_by_field(
    organiser: httpx.Client, on_sale: OnSale
) -> None:
    capacity = f"{TICKET_TYPES}{on_sale(1)}/capacity/"
    for path, fields in {
        "/api/users/": ("username", "password"),
        "/api/token/": ("username", "password"),
        "/api/token/refresh/": ("refresh",),
        "/api/token/verify/": ("token",),
        "/api/token/blacklist/": ("refresh",),
        EVENTS: ("title", "start_time", "end_time"),
        TICKET_TYPES: ("event", "name", "price", "capacity"),
        capacity: ("change",),
        PURCHASES: ("ticket_type", "quantity"),
    }.items():
        check_invalid(organiser.post(path, json={}), *fields)
        check_invalid(organiser.post(path, json=dict.fromkeys(fields)), *fields)


def test_no_stack_trace_no_sql_no_secret_in_any_answer_or_log(
    fragile_shop: Shop,
) -> None:
    visitor = fragile_shop.client()
    organiser, buyer = fragile_shop.users(2)
    ticket_type = put_on_sale(organiser, 10)
    account = {"username": f"ana{uuid4().hex}", "password": PASSWORD}
    tokens = visitor.post("/api/users/", json=account)
    tokens = visitor.post("/api/token/", json=account)

    def everything() -> list[httpx.Response]:
        return [
            visitor.post("/api/users/", json=account),
            visitor.post("/api/token/", json=account | {"password": "wrong-" + PASSWORD}),
            visitor.post("/api/token/refresh/", json=tokens.json()),
            visitor.post("/api/token/verify/", json={"token": tokens.json()["access"] + "x"}),
            *(buyer.get(path) for path in ("/api/users/me/", EVENTS, TICKET_TYPES, PURCHASES)),
            buyer.post(EVENTS, json=event_fields(title="'; DROP TABLE events; --")),
            buyer.post(EVENTS, json={"title": "nul\0"}),
            buyer.get(EVENTS, params={"search": "'\\%_"}),
            buy(buyer, ticket_type, 2),
            buy(buyer, 2**63 - 1),
            buyer.get(f"{PURCHASES}%00/"),
            visitor.get("/readyz"),
        ]

    answers = everything()
    with database_unavailable(fragile_shop):
        unavailable = everything()
    assert {answer.status_code for answer in unavailable} <= {400, 401, 404, 503}
    assert 503 in {answer.status_code for answer in unavailable}
    secrets = [
        *(account["password"], *tokens.json().values()),
        *(client.headers["Authorization"].split()[1] for client in (organiser, buyer)),
        str(httpx.URL(fragile_shop.database_url).password),
        "$argon2id$",
        "PRIVATE KEY",
    ]
    ours = [file for file in fragile_shop.home.logs.iterdir() if file.stem not in SERVERS]
    assert {file.stem for file in ours} >= {"gateway-1", "catalog-1", "worker-1", "sweeper-1"}
    texts = {file.name: file.read_text() for file in ours}
    texts |= {
        f"{answer.request.method} {answer.url} {answer.status_code}": answer.text
        for answer in [*answers, *unavailable]
        if not (answer.is_success and "/token/" in str(answer.url))  # there, they are the answer
    }
    for place, text in texts.items():
        assert not (found := TRACE_OR_SQL.search(text)), (place, text[found.start() :])
        assert [secret for secret in secrets if secret in text] == [], place


# --- request ids ---


def test_every_answer_carries_x_request_id_given_or_made(
    shop: Shop,
    buyer: httpx.Client,
    on_sale: OnSale,
    errors: dict[int, list[httpx.Response]],
) -> None:
    bought = buy(buyer, on_sale(10), **WAIT)
    address = f"{PURCHASES}{bought.json()['id']}/"
    etag = buyer.get(address).headers["ETag"]
    asked: list[tuple[httpx.Client, str, str, dict[str, str]]] = [
        *((buyer, method, path, {}) for path in ROUTES for method in METHODS),
        (buyer, "GET", address, {}),
        (buyer, "GET", address, {"If-None-Match": etag}),
        (buyer, "GET", "/api/events", {}),  # redirected to its slash
        (buyer, "GET", "/nothing", {}),
        (buyer, "HEAD", EVENTS, {}),
        (shop.client(), "GET", EVENTS, {}),
    ]
    made = [bought.headers["X-Request-ID"]]
    made += [a.headers["X-Request-ID"] for answers in errors.values() for a in answers]
    for client, method, path, headers in asked:
        given = f"order-{uuid4()}"
        answer = client.request(method, path, headers=headers | {"X-Request-ID": given}, json={})
        assert answer.headers.get_list("X-Request-ID") == [given], (method, path)
        made.append(client.request(method, path, headers=headers, json={}).headers["X-Request-ID"])
    assert len(set(made)) == len(made)
    # A value that could harm a log is replaced.
    for harmful in ("x" * 129, 'a"b', "a b", "{}"):
        answer = buyer.get(EVENTS, headers={"X-Request-ID": harmful})
        assert answer.headers["X-Request-ID"] not in ("", harmful)


def test_logs_carry_x_request_id_through_the_worker(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    given = f"order-{uuid4()}"
    bought = buy(buyer, on_sale(10), **WAIT, **{"X-Request-ID": given})
    assert bought.headers["X-Request-ID"] == given

    def logged() -> None:
        # By the worker or the sweeper: both run the same code.
        lines = [
            json.loads(line)
            for name in ("worker-1", "sweeper-1")
            for line in (shop.home.logs / f"{name}.log").read_text().splitlines()
            if given in line
        ]
        assert len(lines) == 1
        (line,) = lines
        assert (line["event"], line["events"]) == ("batch_decided", [bought.json()["event"]])
        assert line["request_ids"] == [given]

    eventually(logged)


# --- health ---


def test_the_document_has_the_version(shop: Shop) -> None:
    assert shop.client().get("/api/schema/").json()["info"]["version"] == VERSION


def test_healthz_answers_while_the_process_is_alive(fragile_shop: Shop) -> None:
    visitor = fragile_shop.client()
    assert visitor.get("/healthz").json() == {"status": "ok", "version": VERSION}
    with database_unavailable(fragile_shop):
        assert visitor.get("/healthz").status_code == 200


@pytest.mark.parametrize("query", ["", "?", "?at=1", "?&", "?a=1&a=2"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_may_have_a_query(shop: Shop, path: str, query: str) -> None:
    answer = httpx.get(f"{shop.url}{path}{query}")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": VERSION})


def test_readyz_database_reachable(fragile_shop: Shop) -> None:
    visitor = fragile_shop.client()
    assert visitor.get("/readyz").status_code == 200

    def not_ready() -> None:
        answer = visitor.get("/readyz")
        check_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1

    with database_unavailable(fragile_shop):
        # Probes share a query of the database, which may be a second old.
        eventually(not_ready, within_seconds=5)


def test_readyz_not_draining(fragile_shop: Shop) -> None:
    organiser, buyer = fragile_shop.users(2)
    ticket_type = put_on_sale(organiser, 10)
    gateway = fragile_shop.operator.processes()["gateway-1"]["pid"]
    os.kill(gateway, signal.SIGTERM)

    def not_ready() -> None:
        # Its port closes at once: a refused connection is as good for a load balancer as 503.
        try:
            assert httpx.get(f"{fragile_shop.url}/readyz").status_code == 503
        except httpx.TransportError:
            return

    eventually(not_ready)
    until_ready(fragile_shop)
    assert buy(buyer, ticket_type, **WAIT).status_code == 201


def test_readyz_redis_is_not_required(fragile_shop: Shop) -> None:
    redis = fragile_shop.operator.processes()["valkey"]["pid"]
    os.kill(redis, signal.SIGSTOP)
    try:
        assert fragile_shop.client().get("/readyz").status_code == 200
    finally:
        os.kill(redis, signal.SIGCONT)


# --- forms of values and bodies ---


def test_metrics_answers_prometheus(
    fragile_shop: Shop,
) -> None:
    buyer, organiser = fragile_shop.users(2)
    ticket_type = put_on_sale(organiser, 5)

    def figure(name: str) -> float:
        answer = httpx.get(f"{fragile_shop.url}/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        (line,) = re.findall(rf"^{name} (\S+)$", answer.text, re.MULTILINE)
        return float(line)

    def one_is_queued() -> None:
        assert figure("eventify_purchases_queued") == 1

    with sale_held(fragile_shop.database_url, ticket_type):
        assert buy(buyer, ticket_type).status_code == 202
        eventually(one_is_queued)
    assert figure("eventify_clients_waiting") == 0
    assert figure("eventify_wakeups_failed_total") >= 0


def test_times_are_rfc_3339_utc(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    local = "2031-06-05T20:00:00+02:00"
    ticket_type = on_sale(10, sales_end=local, sales_start="2020-01-01T00:00:00-05:00")
    type_body = organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()
    event_body = organiser.get(f"{EVENTS}{type_body['event']}/").json()
    account = {"username": f"ana{uuid4().hex}", "password": PASSWORD}
    account_body = shop.client().post("/api/users/", json=account).json()
    queued, decided = buy(buyer, ticket_type).json(), buy(buyer, ticket_type, **WAIT).json()
    for body, fields in (
        (account_body, ("created_at",)),
        (event_body, ("start_time", "end_time")),
        (type_body, ("sales_start", "sales_end")),
        (queued, ("created_at",)),
        (decided, ("created_at", "decided_at")),
    ):
        for field in fields:
            assert RFC3339_UTC.fullmatch(body[field]), (field, body[field])
    assert type_body["sales_end"] == "2031-06-05T18:00:00Z"
    assert abs(datetime.fromisoformat(decided["decided_at"]) - datetime.now(UTC)).seconds < 60


def test_money_is_in_decimal_strings(
    organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(10, price="0.10", max_per_purchase=3)
    assert organiser.get(f"{TICKET_TYPES}{ticket_type}/").json()["price"] == "0.10"
    bought = buy(buyer, ticket_type, 3, **WAIT).json()
    assert (bought["unit_price"], bought["total_price"]) == ("0.10", "0.30")
    dear = on_sale(10, price="9999999999.99")
    total = buy(buyer, dear, 3, **WAIT).json()["total_price"]
    assert (total, Decimal(total)) == ("29999999999.97", 3 * Decimal("9999999999.99"))


def test_unknown_body_fields_and_query_parameters_are_named(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client, on_sale: OnSale
) -> None:
    visitor = shop.client()
    account = {"username": f"ana{uuid4().hex}", "password": PASSWORD}
    ticket_type = on_sale(10)
    type_address = f"{TICKET_TYPES}{ticket_type}/"
    event = organiser.get(type_address).json()["event"]
    event_address = f"{EVENTS}{event}/"
    bought = f"{PURCHASES}{buy(buyer, ticket_type, **WAIT).json()['id']}/"
    writes: list[tuple[httpx.Client, str, str, dict[str, Any]]] = [
        (visitor, "POST", "/api/users/", account),
        (visitor, "POST", "/api/token/", account),
        (visitor, "POST", "/api/token/refresh/", {"refresh": "x"}),
        (visitor, "POST", "/api/token/verify/", {"token": "x"}),
        (visitor, "POST", "/api/token/blacklist/", {"refresh": "x"}),
        (organiser, "POST", EVENTS, event_fields()),
        (organiser, "PUT", event_address, event_fields()),
        (organiser, "PATCH", event_address, {}),
        (organiser, "POST", TICKET_TYPES, ticket_type_fields(event)),
        (organiser, "PUT", type_address, ticket_type_fields(event)),
        (organiser, "PATCH", type_address, {}),
        (organiser, "POST", f"{type_address}capacity/", {"change": 1}),
        (buyer, "POST", PURCHASES, {"ticket_type": ticket_type, "quantity": 1}),
    ]
    strange: tuple[tuple[str, Any], ...] = (
        *(("colour", "red"), ("nested", {"a": [1]}), ("", None), ("\0", "\0"), ("é" * 40, 1)),
        *(("__proto__", {}), ("self", 1), ("body", 1)),
    )
    for client, method, path, body in writes:
        for name, value in strange:
            check_invalid(client.request(method, path, json=body | {name: value}), name)
        check_invalid(client.request(method, f"{path}?colour=red", json=body), "colour")
    reads = (
        (EVENTS, "serch"),
        (TICKET_TYPES, "event_id"),
        (PURCHASES, "ticket_typ"),
        ("/api/users/me/", "id"),
        (event_address, "fields"),
        (type_address, "wait"),
        (bought, "wiat"),
    )
    for path, name in reads:
        check_invalid(buyer.get(path, params={name: "20"}), name)
        check_invalid(buyer.get(f"{path}?{name}"), name)
    check_invalid(organiser.delete(f"{event_address}?colour=red"), "colour")
    meant = organiser.patch(type_address, json={"max_per_usr": 1})
    assert meant.json()["errors"] == {"max_per_usr": ["Unknown field. Did you mean max_per_user?"]}
    assert buyer.get(PURCHASES).json()["count"] == 1
    assert organiser.get(TICKET_TYPES, params={"event": event}).json()["count"] == 1


def test_an_integer_in_a_query_is_ascii_digits(buyer: httpx.Client, on_sale: OnSale) -> None:
    bought = f"{PURCHASES}{buy(buyer, on_sale(10), **WAIT).json()['id']}/"
    for number in ("1_0", "1.0", " 1", "1 ", "+1", "\uff11", "\u0661", "1e0", "0x1", "-1", ""):
        for path, name in (
            (TICKET_TYPES, "event"),
            (TICKET_TYPES, "page_size"),
            (PURCHASES, "ticket_type"),
            (PURCHASES, "page_size"),
            (EVENTS, "owner"),
            (bought, "wait"),
            *((path, "page") for path in (EVENTS, TICKET_TYPES, PURCHASES)),
        ):
            check_invalid(buyer.get(path, params={name: number}), name)
        if number:
            check_problem(buyer.get(f"{EVENTS}{quote(number)}/"), 404, "not_found")


def test_a_json_body_is_read_as_json_whatever_its_content_type_says(
    shop: Shop, organiser: httpx.Client, buyer: httpx.Client
) -> None:
    visitor = shop.client()

    def send(
        client: httpx.Client, method: str, path: str, body: dict[str, Any], content_type: str
    ) -> dict[str, Any]:
        headers = {"Content-Type": content_type} if content_type else {}
        answer = client.request(method, path, content=json.dumps(body), headers=headers)
        assert answer.status_code in (200, 201, 202), (method, path, content_type, answer.text)
        row: dict[str, Any] = answer.json()
        return row

    # The first is what `curl -d` says; without any is what some clients send.
    for kind in ("application/x-www-form-urlencoded", "text/plain; charset=latin-1", ""):
        account = {"username": f"ana{uuid4().hex}", "password": PASSWORD}
        send(visitor, "POST", "/api/users/", account, kind)
        pair = send(visitor, "POST", "/api/token/", account, kind)
        pair = send(visitor, "POST", "/api/token/refresh/", pair, kind)
        send(visitor, "POST", "/api/token/verify/", {"token": pair["access"]}, kind)
        send(visitor, "POST", "/api/token/blacklist/", pair, kind)
        event = send(organiser, "POST", EVENTS, event_fields(), kind)
        send(organiser, "PUT", f"{EVENTS}{event['id']}/", event_fields(), kind)
        send(organiser, "PATCH", f"{EVENTS}{event['id']}/", {"title": "Opera"}, kind)
        ticket_type = ticket_type_fields(event["id"])
        id_ = send(organiser, "POST", TICKET_TYPES, ticket_type, kind)["id"]
        send(organiser, "PUT", f"{TICKET_TYPES}{id_}/", ticket_type, kind)
        send(organiser, "PATCH", f"{TICKET_TYPES}{id_}/", {"name": "Seated"}, kind)
        send(organiser, "POST", f"{TICKET_TYPES}{id_}/capacity/", {"change": 1}, kind)
        send(buyer, "POST", PURCHASES, {"ticket_type": id_, "quantity": 1}, kind)


# --- beyond the contract: as users of DRF and readers of RFCs expect ---


def test_every_route_answers_405_with_allow_to_a_method_that_it_has_not(
    buyer: httpx.Client,
) -> None:
    for path, methods in ROUTES.items():
        for method in (*METHODS, "PROPFIND"):
            if method not in methods:
                answer = buyer.request(method, path)
                check_problem(answer, 405, "method_not_allowed")
                heads = {"HEAD"} if "GET" in methods else set()
                assert set(answer.headers["Allow"].split(", ")) == methods | heads, (method, path)


def test_head_is_answered_as_get_without_its_body(
    buyer: httpx.Client, organiser: httpx.Client, on_sale: OnSale
) -> None:
    bought = f"{PURCHASES}{buy(buyer, on_sale(10), **WAIT).json()['id']}/"
    event = f"{EVENTS}{create(organiser, EVENTS, event_fields())['id']}/"
    reads = [path for path, methods in ROUTES.items() if "GET" in methods and "/1/" not in path]
    for path in (*reads, bought, event):
        got, head = buyer.get(path), buyer.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        if path != "/metrics":  # its figures change
            assert head.headers["Content-Length"] == got.headers["Content-Length"], path
        assert head.headers.get("ETag") == got.headers.get("ETag"), path


def test_an_unknown_route_answers_404_with_problem_details(shop: Shop, buyer: httpx.Client) -> None:
    for path in ("/nothing", "/api/", "/api/nothing/", f"{EVENTS}1/2/"):
        for method in METHODS:
            check_problem(buyer.request(method, path), 404, "not_found")
    for client, path in ((shop.client(), "/api/nothing/"), (buyer, f"{PURCHASES}a/b/")):
        check_problem(client.get(path), 404, "not_found")


def test_a_slash_too_many_is_another_route(on_sale: OnSale, buyer: httpx.Client) -> None:
    ticket_type = on_sale(10)
    body = {"ticket_type": ticket_type, "quantity": 1}
    bought = f"{PURCHASES}{buy(buyer, ticket_type, **WAIT).json()['id']}/"
    for method, path in (
        *(("POST", f"{PURCHASES}{slash}") for slash in ("/", "%2F/", "//")),
        *(("GET", f"{path}/") for path in (PURCHASES, bought, f"{bought}events/")),
        ("POST", f"{bought}cancel//"),
        *(("GET", f"{path}/") for path in (EVENTS, f"{TICKET_TYPES}{ticket_type}/", "/api/sales/")),
    ):
        check_problem(buyer.request(method, path, json=body), 404, "not_found")
    assert len(buyer.get(PURCHASES).json()["results"]) == 1
