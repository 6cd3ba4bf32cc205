"""Ticket types over HTTP: their fields, who may write them, and what purchases forbid."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.integration.catalog.making import (
    TICKET_TYPE,
    make_event,
    make_ticket_type,
    path_of,
    queue_purchase,
    queue_within,
    sell,
    user_id_of,
)
from tests.support.waiting import eventually

Purchase = Callable[[Engine, int, int, int], None]


def test_a_new_ticket_type_has_its_defaults(owner: httpx.Client) -> None:
    event = make_event(owner)
    answer = owner.post("/api/ticket-types/", json=TICKET_TYPE | {"event": event["id"]})
    assert answer.status_code == 201
    assert answer.json() == TICKET_TYPE | {
        "id": answer.json()["id"],
        "event": event["id"],
        "sold": 0,
        "sales_start": None,
        "sales_end": None,
        "max_per_purchase": 10,
        "max_per_user": None,
        "paused_at": None,
    }
    read = owner.get(answer.headers["Location"])
    assert read.json() == answer.json()
    assert read.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("100.00", "100.00"),
        ("100", "100.00"),
        ("99.9", "99.90"),
        ("0.1", "0.10"),
        ("0", "0.00"),
        ("9999999999.99", "9999999999.99"),
    ],
)
def test_a_price_is_answered_to_the_cent_as_it_was_sent(
    owner: httpx.Client, sent: str, answered: str
) -> None:
    created = make_ticket_type(owner, price=sent)
    assert created["price"] == answered
    assert owner.get(path_of(created)).json()["price"] == answered


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", "19.99"),
        ("price", "100"),
        ("price", "0"),
        ("price", "9" * 5_000),
        ("price", "-1e400"),
        ("price", "1e400"),
        ("price", "1e-5"),
        ("price", "-1"),
        ("price", '"-0.01"'),
        ("price", "100.001"),
        ("price", '"100.000"'),
        ("price", '"1_000"'),
        ("price", '"١"'),
        ("price", '"NaN"'),
        ("price", '"1e2"'),
        ("price", "10000000000"),
        ("price", "true"),
        ("price", "null"),
        ("price", "[1]"),
        ("capacity", "-1"),
        ("capacity", "1000000001"),
        ("capacity", "1e400"),
        ("capacity", "1.5"),
        ("capacity", "1.0"),
        ("capacity", '"2"'),
        ("capacity", "true"),
        ("capacity", "null"),
        ("max_per_purchase", "0"),
        ("max_per_purchase", "1000001"),
        ("max_per_purchase", "null"),
        ("max_per_user", "0"),
        ("max_per_user", "2147483648"),
        ("max_per_user", "true"),
        ("event", "0"),
        ("event", "999999999"),
        ("event", "9223372036854775808"),
        ("event", "9" * 5_000),
        ("event", '"1"'),
        ("event", "null"),
        ("name", '""'),
        ("name", '"\\u0000"'),
        ("name", '"\\ud800"'),
        ("name", '"\\u200b"'),
        ("name", '"\\u001b[2J"'),
        ("name", '"\\u202eelloT"'),
        ("max_per_usr", "4"),
        ("title", '"Seat"'),
        ("sales_start", '"2027-01-01"'),
        ("sales_end", "5"),
        ("sales_end", '"2026-12-31T00:00:00Z"'),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_bad_field_is_refused_by_its_name(
    owner: httpx.Client, method: str, field: str, value: str
) -> None:
    ticket_type = make_ticket_type(owner, sales_start="2027-01-01T00:00:00Z")
    members = {"event": str(ticket_type["event"]), "name": '"Seat"', "capacity": "1"} | {
        "price": '"1"',
        "sales_start": '"2027-01-01T00:00:00Z"',
        field: value,
    }
    body = "{" + ", ".join(f'"{name}": {sent}' for name, sent in members.items()) + "}"
    path = "/api/ticket-types/" if method == "POST" else path_of(ticket_type)
    answer = owner.request(method, path, content=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()["errors"]) == [field]
    assert owner.get(path_of(ticket_type)).json() == ticket_type


def test_a_ticket_type_is_listed_under_its_event(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner)
    make_ticket_type(owner)
    page = owner.get("/api/ticket-types/", params={"event": ticket_type["event"]}).json()
    assert page == {"count": 1, "next": None, "previous": None, "results": [ticket_type]}
    answer = owner.get("/api/ticket-types/", params={"event": "9223372036854775808"})
    assert list(answer.json()["errors"]) == ["event"]


def test_anyone_signed_in_reads_a_ticket_type(
    owner: httpx.Client, someone_else: httpx.Client
) -> None:
    ticket_type = make_ticket_type(owner)
    assert someone_else.get(path_of(ticket_type)).json() == ticket_type


@pytest.mark.parametrize(
    ("method", "action"), [("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "capacity/")]
)
def test_only_the_events_owner_writes_its_ticket_types(
    owner: httpx.Client, someone_else: httpx.Client, method: str, action: str
) -> None:
    ticket_type = make_ticket_type(owner)
    body = None if method == "DELETE" else TICKET_TYPE | {"event": ticket_type["event"]}
    body = {"change": 1} if action else body
    answer = someone_else.request(method, path_of(ticket_type) + action, json=body)
    assert answer.status_code == 403
    assert owner.get(path_of(ticket_type)).json() == ticket_type


def test_a_ticket_type_is_only_made_under_an_event_of_ones_own(
    owner: httpx.Client, someone_else: httpx.Client
) -> None:
    event = make_event(owner)
    body = TICKET_TYPE | {"event": event["id"]}
    assert someone_else.post("/api/ticket-types/", json=body).status_code == 403


def test_put_replaces_a_ticket_type_whole(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner, max_per_user=4, sales_end="2027-01-01T00:00:00Z")
    body = TICKET_TYPE | {"event": ticket_type["event"], "capacity": 7}
    answer = owner.put(path_of(ticket_type), json=body)
    assert answer.status_code == 200
    assert answer.json() == ticket_type | {"max_per_user": None, "sales_end": None, "capacity": 7}
    assert owner.get(path_of(ticket_type)).json() == answer.json()


def test_an_unknown_field_is_refused_with_what_was_probably_meant(owner: httpx.Client) -> None:
    body = TICKET_TYPE | {"event": make_event(owner)["id"], "max_per_usr": 4}
    answer = owner.post("/api/ticket-types/", json=body)
    assert answer.json()["errors"] == {"max_per_usr": ["Unknown field. Did you mean max_per_user?"]}
    assert owner.get("/api/ticket-types/", params={"event": body["event"]}).json()["count"] == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_ticket_type_that_was_read_can_be_sent_back_with_changes(
    owner: httpx.Client, method: str
) -> None:
    ticket_type = make_ticket_type(owner)
    owner.post(f"{path_of(ticket_type)}pause/")
    read = owner.get(path_of(ticket_type)).json()
    answer = owner.request(method, path_of(ticket_type), json=read | {"name": "Seated", "sold": 9})
    assert (answer.status_code, answer.json()) == (200, read | {"name": "Seated"})


def test_patch_changes_only_what_it_names(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner, max_per_user=4)
    change = {"price": "5.50", "max_per_user": None, "sold": 9, "id": 9}
    answer = owner.patch(path_of(ticket_type), json=change)
    assert answer.json() == ticket_type | {"price": "5.50", "max_per_user": None}
    assert owner.get(path_of(ticket_type)).json() == answer.json()


def test_patch_checks_the_sale_window_that_comes_out_of_it(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner, sales_end="2027-01-01T00:00:00Z")
    answer = owner.patch(path_of(ticket_type), json={"sales_start": "2027-01-02T00:00:00Z"})
    assert answer.json()["errors"] == {"sales_end": ["must be after sales_start"]}


def test_a_ticket_type_moves_only_to_an_event_of_the_same_owner(
    owner: httpx.Client, someone_else: httpx.Client
) -> None:
    ticket_type = make_ticket_type(owner)
    theirs, own = make_event(someone_else)["id"], make_event(owner)["id"]
    assert owner.patch(path_of(ticket_type), json={"event": theirs}).status_code == 403
    assert owner.patch(path_of(ticket_type), json={"event": own}).json()["event"] == own


def test_a_ticket_type_with_purchases_stays_with_its_event(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    queue_purchase(database, ticket_type["id"], user_id_of(owner))
    answer = owner.patch(path_of(ticket_type), json={"event": make_event(owner)["id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    same = owner.patch(path_of(ticket_type), json={"event": ticket_type["event"]})
    assert same.status_code == 200


def test_a_ticket_type_without_purchases_is_deleted(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner)
    assert owner.delete(path_of(ticket_type)).status_code == 204
    assert owner.get(path_of(ticket_type)).status_code == 404
    assert owner.delete(path_of(ticket_type)).status_code == 404


@pytest.mark.parametrize("purchase", [queue_purchase, sell], ids=["queued", "sold"])
def test_a_ticket_type_with_a_purchase_cannot_be_deleted(
    owner: httpx.Client, database: Engine, purchase: Purchase
) -> None:
    ticket_type = make_ticket_type(owner)
    purchase(database, ticket_type["id"], user_id_of(owner), 1)
    answer = owner.delete(path_of(ticket_type))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("what", ["event", "ticket_type"])
def test_a_purchase_that_is_being_accepted_keeps_a_ticket_type_from_being_deleted(
    owner: httpx.Client, database: Engine, what: str
) -> None:
    ticket_type = make_ticket_type(owner)
    path = path_of(ticket_type) if what == "ticket_type" else f"/api/events/{ticket_type['event']}/"
    with ThreadPoolExecutor(1) as deleter:
        with database.begin() as connection:
            queue_within(connection, ticket_type["id"], user_id_of(owner))
            answer = deleter.submit(owner.delete, path)
            eventually(lambda: _assert_waits_for_a_lock(database, "DELETE"))
        assert answer.result().status_code == 409
    assert owner.get(path).status_code == 200


def _assert_waits_for_a_lock(database: Engine, command: str) -> None:
    with database.connect() as connection:
        waiting = connection.execute(
            text(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'eventify-catalog' AND wait_event_type = 'Lock'"
            )
        ).scalars()
        assert any(query.startswith(command) for query in waiting)
