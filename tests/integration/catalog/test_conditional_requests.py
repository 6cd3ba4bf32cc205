"""Conditional requests (RFC 9110, 13): events and ticket types alike, and what a sale changes."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.integration.catalog.making import (
    EVENT,
    TICKET_TYPE,
    make_event,
    make_ticket_type,
    path_of,
    sell,
    user_id_of,
)

# Headers that name no current state; `{}` stands for its tag, and a malformed list names nothing.
NO_MATCH = ['"bogus"', "bogus", "", "W/{}", '"', "{}x", "{} {}", '*, "a"', "{};q=1", '"a", b, {}']
MATCH = ["{}", "*", '"a" ,\t{}', ", {},", '"a,b",{}', 'W/"x", {}']


@pytest.fixture(params=["event", "ticket type"])
def stored(request: pytest.FixtureRequest, owner: httpx.Client) -> tuple[str, dict[str, Any]]:
    """The path of something that its owner may change, and the body of a PUT of it."""
    event = make_event(owner)
    if request.param == "event":
        return f"/api/events/{event['id']}/", EVENT
    ticket_type = make_ticket_type(owner, event=event["id"])
    return path_of(ticket_type), TICKET_TYPE | {"event": event["id"]}


def etag_of(client: httpx.Client, path: str) -> str:
    return client.get(path).headers["ETag"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("header", NO_MATCH)
def test_a_write_that_does_not_know_the_state_changes_nothing(
    owner: httpx.Client, stored: tuple[str, dict[str, Any]], method: str, header: str
) -> None:
    path, body = stored
    before = owner.get(path)
    tag = before.headers["ETag"]
    sent = None if method == "DELETE" else body
    answer = owner.request(method, path, json=sent, headers={"If-Match": header.format(tag, tag)})
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert owner.get(path).json() == before.json()


@pytest.mark.parametrize("header", MATCH)
def test_a_write_that_knows_the_state_is_done(
    owner: httpx.Client, stored: tuple[str, dict[str, Any]], header: str
) -> None:
    path, body = stored
    for method in ("PUT", "PATCH", "DELETE"):
        sent = None if method == "DELETE" else body
        headers = {"If-Match": header.format(etag_of(owner, path))}
        answer = owner.request(method, path, json=sent, headers=headers)
        assert answer.status_code in (200, 204), answer.text
        assert method == "DELETE" or answer.headers["ETag"] == etag_of(owner, path)


def test_of_two_writers_who_read_the_same_state_one_is_done(
    owner: httpx.Client, stored: tuple[str, dict[str, Any]]
) -> None:
    path, _body = stored
    read = {"If-Match": etag_of(owner, path)}
    field = "title" if "events" in path else "name"
    assert owner.patch(path, json={field: "First"}, headers=read).status_code == 200
    assert owner.patch(path, json={field: "Second"}, headers=read).status_code == 412
    assert owner.get(path).json()[field] == "First"


def test_a_new_one_is_answered_with_its_tag(
    owner: httpx.Client, stored: tuple[str, dict[str, Any]]
) -> None:
    path, body = stored
    created = owner.post(path.rpartition("/")[0].rpartition("/")[0] + "/", json=body)
    assert created.headers["ETag"] == etag_of(owner, created.headers["Location"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_reader_who_has_it_gets_no_body(
    owner: httpx.Client, stored: tuple[str, dict[str, Any]], method: str
) -> None:
    path, _body = stored
    tag = etag_of(owner, path)
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = owner.request(method, path, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
    for header in ('"other"', "bogus", "", f"{tag} x", f"bogus, {tag}"):
        answer = owner.request(method, path, headers={"If-None-Match": header})
        assert answer.status_code == 200, header


def test_someone_elses_write_is_refused_before_its_condition(
    someone_else: httpx.Client, stored: tuple[str, dict[str, Any]]
) -> None:
    path, body = stored
    answer = someone_else.put(path, json=body, headers={"If-Match": '"bogus"'})
    assert answer.status_code == 403


def test_a_sale_makes_only_those_writes_stale_that_set_the_capacity(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner, capacity=10)
    path = path_of(ticket_type)
    for method, action, body in (
        ("PATCH", "", {"price": "5.00"}),
        ("POST", "capacity/", {"change": 3}),
        ("POST", "pause/", None),
    ):
        read = owner.get(path).headers["ETag"]
        sell(database, ticket_type["id"], user_id_of(owner), quantity=1)
        # The representation has changed, and so has its tag: no reader keeps a stale one.
        assert owner.get(path, headers={"If-None-Match": read}).status_code == 200
        for method_of_capacity, form in (
            ("PATCH", {"capacity": 5}),
            ("PATCH", {"capacity": 5, "price": "6.00"}),
            ("PUT", TICKET_TYPE | {"event": ticket_type["event"]}),
        ):
            stale = owner.request(method_of_capacity, path, json=form, headers={"If-Match": read})
            assert stale.status_code == 412
        answer = owner.request(method, path + action, json=body, headers={"If-Match": read})
        assert answer.status_code == 200, answer.text
        assert answer.headers["ETag"] == etag_of(owner, path)


def test_a_changed_capacity_makes_every_other_form_stale(owner: httpx.Client) -> None:
    path = path_of(make_ticket_type(owner, capacity=10))
    read = {"If-Match": etag_of(owner, path)}
    assert owner.post(f"{path}capacity/", json={"change": 3}, headers=read).status_code == 200
    # A repeated request is harmless, and another's form is old.
    assert owner.post(f"{path}capacity/", json={"change": 3}, headers=read).status_code == 412
    assert owner.patch(path, json={"name": "Late"}, headers=read).status_code == 412
    assert owner.get(path).json()["capacity"] == 13
