"""The capacity of a ticket type while its sale is running."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.integration.catalog.making import (
    make_ticket_type,
    path_of,
    queue_purchase,
    sell,
    sell_within,
    user_id_of,
)
from tests.support.waiting import eventually


def etag_of(client: httpx.Client, path: str) -> str:
    return client.get(path).headers["ETag"]


def issued_record(database: Engine, ticket_type_id: int) -> list[tuple[int, int, int]]:
    """Every change on record: how many, after which decision, by whom."""
    with database.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT change, after_decision, changed_by FROM inventory_changes"
                " WHERE ticket_type_id = :id ORDER BY id"
            ),
            {"id": ticket_type_id},
        )
        return [tuple(row) for row in rows]


def test_capacity_is_what_is_left_to_sell(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    sell(database, ticket_type["id"], user_id_of(owner), quantity=2)
    read = owner.get(path_of(ticket_type)).json()
    assert (read["capacity"], read["sold"]) == (8, 2)


def test_capacity_that_is_set_is_what_is_left_besides_what_is_sold(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    sell(database, ticket_type["id"], user_id_of(owner), quantity=4)
    path = path_of(ticket_type)
    answer = owner.patch(path, json={"capacity": 1}, headers={"If-Match": etag_of(owner, path)})
    assert (answer.json()["capacity"], answer.json()["sold"]) == (1, 4)
    assert answer.headers["ETag"] == etag_of(owner, path)


def test_every_change_of_what_is_issued_is_on_record_with_who_made_it(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    path = path_of(ticket_type)
    assert owner.patch(path, json={"capacity": 12}).status_code == 200
    sell(database, ticket_type["id"], user_id_of(owner), quantity=3)
    assert owner.post(f"{path}capacity/", json={"change": -5}).status_code == 200
    user = user_id_of(owner)
    assert issued_record(database, ticket_type["id"]) == [
        (10, 0, user),
        (2, 0, user),
        (-5, 1, user),
    ]


def test_tickets_are_added_and_withdrawn_during_a_sale(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    sell(database, ticket_type["id"], user_id_of(owner), quantity=4)
    path = f"{path_of(ticket_type)}capacity/"
    answer = owner.post(path, json={"change": 20})
    assert answer.status_code == 200
    assert (answer.json()["capacity"], answer.json()["sold"]) == (26, 4)
    assert owner.post(path, json={"change": -26}).json()["capacity"] == 0


@pytest.mark.parametrize(
    "change", ["0", "-7", "1000000000", "9223372036854775808", "true", "1.5", '"2"', "null"]
)
def test_a_change_that_cannot_be_is_refused(
    owner: httpx.Client, database: Engine, change: str
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    sell(database, ticket_type["id"], user_id_of(owner), quantity=4)
    path = path_of(ticket_type)
    answer = owner.post(f"{path}capacity/", content=f'{{"change": {change}}}')
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["change"]
    assert owner.get(path).json()["capacity"] == 6


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("sold", [True, False], ids=["sold", "queued"])
def test_capacity_cannot_be_set_blindly_once_the_sale_began(
    owner: httpx.Client, database: Engine, method: str, sold: bool
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    if sold:
        sell(database, ticket_type["id"], user_id_of(owner), quantity=4)
    else:
        queue_purchase(database, ticket_type["id"], user_id_of(owner))
    path = path_of(ticket_type)
    current = owner.get(path)
    answer = owner.request(method, path, json=current.json())
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    fresh = {"If-Match": current.headers["ETag"]}
    assert owner.request(method, path, json=current.json(), headers=fresh).status_code == 200


def test_other_fields_need_no_precondition_during_a_sale(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    sell(database, ticket_type["id"], user_id_of(owner), quantity=4)
    assert owner.patch(path_of(ticket_type), json={"max_per_purchase": 1}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_stale_form_changes_nothing(owner: httpx.Client, method: str) -> None:
    ticket_type = make_ticket_type(owner)
    path = path_of(ticket_type)
    stale = {"If-Match": etag_of(owner, path)}
    renamed = owner.patch(path, json={"name": "Renamed"}).json()
    body = None if method == "DELETE" else ticket_type
    answer = owner.request(method, path, json=body, headers=stale)
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    stale_change = owner.post(f"{path}capacity/", json={"change": 1}, headers=stale)
    assert stale_change.status_code == 412
    assert owner.get(path).json() == renamed


def test_a_sale_between_reading_and_writing_makes_a_form_stale(
    owner: httpx.Client, database: Engine
) -> None:
    """The ETag is compared under the lock: what was sold while we waited for it counts."""
    ticket_type = make_ticket_type(owner, capacity=10)
    path = path_of(ticket_type)
    read = {"If-Match": etag_of(owner, path)}
    with ThreadPoolExecutor(1) as form:
        with database.begin() as connection:
            sell_within(connection, ticket_type["id"], user_id_of(owner), 3)
            answer = form.submit(owner.patch, path, json={"capacity": 10}, headers=read)
            eventually(lambda: _assert_the_catalog_waits(database))
        assert answer.result().status_code == 412
    assert owner.get(path).json()["capacity"] == 7


def test_a_sale_that_holds_its_lock_too_long_makes_a_change_wait_for_later(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    with database.begin() as connection:
        connection.execute(
            text("SELECT FROM ticket_inventory WHERE ticket_type_id = :id FOR NO KEY UPDATE"),
            {"id": ticket_type["id"]},
        )
        answer = owner.patch(path_of(ticket_type), json={"capacity": 1})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert owner.get(path_of(ticket_type)).json() == ticket_type


def test_concurrent_changes_all_count(owner: httpx.Client, database: Engine) -> None:
    ticket_type = make_ticket_type(owner, capacity=100)
    path = f"{path_of(ticket_type)}capacity/"
    changes = [1, -2, 3, -4, 5, -6, 7, -8] * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda change: owner.post(path, json={"change": change}), changes))
    assert {answer.status_code for answer in answers} == {200}
    assert owner.get(path_of(ticket_type)).json()["capacity"] == 100 + sum(changes)
    record = issued_record(database, ticket_type["id"])
    assert sorted(change for change, _, _ in record[1:]) == sorted(changes)


def test_a_reader_who_has_the_current_state_gets_no_body(owner: httpx.Client) -> None:
    path = path_of(make_ticket_type(owner))
    etag = etag_of(owner, path)
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = owner.get(path, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert owner.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def _assert_the_catalog_waits(database: Engine) -> None:
    with database.connect() as connection:
        waiting = connection.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'eventify-catalog' AND wait_event_type = 'Lock'"
            )
        ).scalar_one()
        assert waiting == 1
