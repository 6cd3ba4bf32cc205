"""Events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.system.conftest import Shop
from tests.system.contract.problems import refused, refused_by_field
from tests.system.selling import EVENTS, TICKET_TYPES, WAIT, buy, create, event_fields
from tests.system.selling import ticket_type_fields as ticket_type

FIELDS = {"id", "title", "description", "start_time", "end_time", "owner"}


@pytest.fixture
def owner(shop: Shop) -> httpx.Client:
    """A new organiser, whose list of own events is empty."""
    return shop.user()


def new_event(owner: httpx.Client, **fields: Any) -> dict[str, Any]:
    return create(owner, EVENTS, event_fields(**fields))


def address(event: dict[str, Any]) -> str:
    return f"{EVENTS}{event['id']}/"


def titles(client: httpx.Client, **query: str) -> list[str]:
    """The titles of one's own events, as a list tells them."""
    page = client.get(EVENTS, params={"owner": "me"} | query)
    assert page.status_code == 200, page.text
    return [event["title"] for event in page.json()["results"]]


# --- the verbs ---


def test_get_events_lists(owner: httpx.Client) -> None:
    event = new_event(owner)
    newest = owner.get(EVENTS, params={"ordering": "-id"})
    assert newest.status_code == 200
    assert newest.json()["results"][0] == event


def test_post_events_creates(owner: httpx.Client) -> None:
    body = event_fields(title="Opera", description="In three acts.")
    created = owner.post(EVENTS, json=body)
    assert created.status_code == 201
    assert created.headers["Location"] == address(created.json())
    assert owner.get(created.headers["Location"]).json() == created.json()
    assert created.json()["title"] == "Opera"
    assert created.json()["description"] == "In three acts."


def test_get_event_reads(owner: httpx.Client) -> None:
    event = new_event(owner)
    told = owner.get(address(event))
    assert (told.status_code, told.json()) == (200, event)
    for nobodys in ("9223372036854775807", "9223372036854775808", "0", "-1", "x", "%00"):
        refused(owner.get(f"{EVENTS}{nobodys}/"), 404, "not_found")


def test_put_event_replaces(owner: httpx.Client) -> None:
    event = new_event(owner, description="Will go.")
    body = event_fields(title="Opera")
    replaced = owner.put(address(event), json=body)
    assert replaced.status_code == 200
    assert replaced.json() == event | {"title": "Opera", "description": ""}
    assert owner.get(address(event)).json() == replaced.json()
    refused_by_field(owner.put(address(event), json={"title": "Opera"}), "start_time", "end_time")


def test_patch_event_changes(owner: httpx.Client) -> None:
    event = new_event(owner, description="Stays.")
    changed = owner.patch(address(event), json={"title": "Opera"})
    assert (changed.status_code, changed.json()) == (200, event | {"title": "Opera"})
    assert owner.get(address(event)).json() == changed.json()


def test_delete_event_deletes(owner: httpx.Client) -> None:
    event = new_event(owner)
    under_it = create(owner, TICKET_TYPES, ticket_type(event["id"]))
    deleted = owner.delete(address(event))
    assert (deleted.status_code, deleted.content) == (204, b"")
    refused(owner.get(address(event)), 404, "not_found")
    refused(owner.get(f"{TICKET_TYPES}{under_it['id']}/"), 404, "not_found")


# --- the fields ---


def test_fields(owner: httpx.Client) -> None:
    event = new_event(owner)
    assert event.keys() == FIELDS
    assert isinstance(event["id"], int)
    assert event["description"] == ""
    refused_by_field(owner.post(EVENTS, json={}), "title", "start_time", "end_time")


def test_title_has_1_to_200_characters(owner: httpx.Client) -> None:
    event = new_event(owner, title="é" * 200)
    assert event["title"] == "é" * 200
    for bad in ("", " ", "x" * 201, None, 7, "nul\0"):
        for answer in (
            owner.post(EVENTS, json=event_fields(title=bad)),
            owner.put(address(event), json=event_fields(title=bad)),
            owner.patch(address(event), json={"title": bad}),
        ):
            refused_by_field(answer, "title")
    assert owner.get(address(event)).json() == event


def test_end_time_is_after_start_time(owner: httpx.Client) -> None:
    event = new_event(owner)
    for bad in (event["start_time"], "2020-01-01T00:00:00Z"):
        times = {"start_time": event["start_time"], "end_time": bad}
        for answer in (
            owner.post(EVENTS, json=event_fields(**times)),
            owner.put(address(event), json=event_fields(**times)),
            owner.patch(address(event), json={"end_time": bad}),
        ):
            refused_by_field(answer, "end_time")
    late = owner.patch(address(event), json={"start_time": "2999-01-01T00:00:00Z"})
    refused_by_field(late, "end_time")
    assert owner.get(address(event)).json() == event


def test_start_time_and_end_time_are_aware_datetimes(owner: httpx.Client) -> None:
    event = new_event(
        owner, start_time="2030-06-05T20:00:00+02:00", end_time="2030-06-05T16:00:00-05:00"
    )
    assert event["start_time"] == "2030-06-05T18:00:00Z"
    assert event["end_time"] == "2030-06-05T21:00:00Z"
    for bad in ("2031-06-05T20:00:00", "2031-06-05", "soon", 1_900_000_000, None):
        for field in ("start_time", "end_time"):
            answer = owner.post(EVENTS, json=event_fields() | {field: bad})
            assert refused(answer, 400, "invalid")["errors"].keys() == {field}, bad


def test_owner_is_a_read_only_id(owner: httpx.Client) -> None:
    me = owner.get("/api/users/me/").json()["id"]
    event = create(owner, EVENTS, event_fields(owner=1_000_000, id=1_000_000))
    assert event["owner"] == me
    assert event["id"] != 1_000_000
    for answer in (
        owner.put(address(event), json=event_fields(owner=1_000_000)),
        owner.patch(address(event), json={"owner": 1_000_000, "id": 1_000_000}),
    ):
        assert (answer.status_code, answer.json()["owner"]) == (200, me)
        assert answer.json()["id"] == event["id"]


# --- who may ---


def test_anyone_signed_in_reads(owner: httpx.Client, buyer: httpx.Client) -> None:
    event = new_event(owner)
    assert buyer.get(address(event)).json() == event
    assert event in buyer.get(EVENTS, params={"ordering": "-id"}).json()["results"]


def test_only_the_owner_writes_403(owner: httpx.Client, buyer: httpx.Client) -> None:
    event = new_event(owner)
    for method in ("PUT", "PATCH", "DELETE"):
        answer = buyer.request(method, address(event), json=event_fields(title="Mine"))
        refused(answer, 403, "permission_denied")
    assert owner.get(address(event)).json() == event


def test_delete_with_any_purchase_under_it_answers_409(
    owner: httpx.Client, buyer: httpx.Client
) -> None:
    for quantity, outcome in ((1, 201), (11, 400)):  # one confirmed, one rejected
        event = new_event(owner)
        under_it = create(owner, TICKET_TYPES, ticket_type(event["id"], max_per_purchase=99))
        assert buy(buyer, under_it["id"], quantity, **WAIT).status_code == outcome
        refused(owner.delete(address(event)), 409, "conflict")
        assert owner.get(address(event)).json() == event


# --- the list ---


def test_list_search(owner: httpx.Client) -> None:
    new_event(owner, title="Symphony of 100% Wood", description="By candlelight")
    new_event(owner, title="Rock am Ring", description="Loud_er")
    for words, found in {
        "symphony": ["Symphony of 100% Wood"],
        "CANDLE": ["Symphony of 100% Wood"],
        "rock loud": ["Rock am Ring"],
        "rock symphony": [],
        "0%": ["Symphony of 100% Wood"],
        "d_e": ["Rock am Ring"],
        "%": ["Symphony of 100% Wood"],
        "": ["Symphony of 100% Wood", "Rock am Ring"],
    }.items():
        assert titles(owner, search=words) == found, words


def test_list_owner_me(owner: httpx.Client, buyer: httpx.Client) -> None:
    event = new_event(owner)
    page = owner.get(EVENTS, params={"owner": "me"}).json()
    assert (page["count"], page["results"]) == (1, [event])
    assert buyer.get(EVENTS, params={"owner": "me"}).json()["count"] == 0
    by_id = buyer.get(EVENTS, params={"owner": event["owner"]}).json()
    assert by_id["results"] == [event]
    refused_by_field(owner.get(EVENTS, params={"owner": "you"}), "owner")


def test_list_starts_after(owner: httpx.Client) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    for days in (0, 1, 2):
        begin = starts + timedelta(days=days)
        end = begin + timedelta(hours=1)
        times = {"start_time": begin.isoformat(), "end_time": end.isoformat()}
        new_event(owner, title=f"Day {days}", **times)
    second = (starts + timedelta(days=1)).isoformat()
    assert titles(owner, starts_after=second) == ["Day 2"]
    refused_by_field(owner.get(EVENTS, params={"starts_after": "soon"}), "starts_after")


def test_list_ordering(owner: httpx.Client) -> None:
    for title, month in (("B", "03"), ("A", "02"), ("C", "01")):
        times = {"start_time": f"2031-{month}-01T18:00:00Z", "end_time": f"2031-{month}-02T18:00Z"}
        new_event(owner, title=title, **times)
    assert titles(owner, ordering="start_time") == ["C", "A", "B"]
    assert titles(owner, ordering="-start_time") == ["B", "A", "C"]
    assert titles(owner, ordering="title") == ["A", "B", "C"]
    assert titles(owner, ordering="-title") == ["C", "B", "A"]
    refused_by_field(owner.get(EVENTS, params={"ordering": "owner_password"}), "ordering")
