"""Events over HTTP, against a real catalog and a real PostgreSQL."""

import json
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import Engine

from tests.integration.catalog.making import (
    EVENT,
    make_event,
    make_ticket_type,
    queue_purchase,
    sell,
    user_id_of,
)
from tests.support.factories import run

Purchase = Callable[[Engine, int, int, int], None]


def titles(client: httpx.Client, **query: str) -> list[str]:
    answer = client.get("/api/events/", params={"owner": "me", **query})
    assert answer.status_code == 200, answer.text
    return [event["title"] for event in answer.json()["results"]]


def test_whoever_creates_an_event_owns_it(owner: httpx.Client) -> None:
    answer = owner.post("/api/events/", json=EVENT)
    event = answer.json()
    assert event == EVENT | {"id": event["id"], "owner": user_id_of(owner)}
    assert owner.get(answer.headers["Location"]).json() == event


def test_times_are_answered_in_utc(owner: httpx.Client) -> None:
    event = make_event(
        owner, start_time="2027-06-05T20:00:00.5+02:00", end_time="9999-12-31T23:59:59Z"
    )
    assert event["start_time"] == "2027-06-05T18:00:00.500000Z"
    assert event["end_time"] == "9999-12-31T23:59:59Z"


def test_read_only_fields_are_known_and_change_nothing(owner: httpx.Client) -> None:
    event = make_event(owner, id=7, owner=7)
    assert event["owner"] == user_id_of(owner)
    path = f"/api/events/{event['id']}/"
    for method in ("PUT", "PATCH"):
        answer = owner.request(method, path, json=event | {"title": "Opera", "owner": 7})
        assert (answer.status_code, answer.json()) == (200, event | {"title": "Opera"})


def test_anyone_signed_in_reads_an_event(owner: httpx.Client, someone_else: httpx.Client) -> None:
    event = make_event(owner)
    assert someone_else.get(f"/api/events/{event['id']}/").json() == event


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_only_the_owner_may_change_an_event(
    owner: httpx.Client, someone_else: httpx.Client, method: str
) -> None:
    event = make_event(owner)
    body = None if method == "DELETE" else EVENT
    answer = someone_else.request(method, f"/api/events/{event['id']}/", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert owner.get(f"/api/events/{event['id']}/").json() == event


def test_put_replaces_an_event_whole(owner: httpx.Client) -> None:
    event = make_event(owner)
    body = {key: value for key, value in EVENT.items() if key != "description"}
    answer = owner.put(f"/api/events/{event['id']}/", json=body | {"title": "Moved indoors"})
    assert answer.status_code == 200
    assert answer.json() == event | {"title": "Moved indoors", "description": ""}
    assert owner.get(f"/api/events/{event['id']}/").json() == answer.json()


def test_patch_changes_only_what_it_names(owner: httpx.Client) -> None:
    event = make_event(owner)
    answer = owner.patch(f"/api/events/{event['id']}/", json={"title": "Moved indoors"})
    assert answer.json() == event | {"title": "Moved indoors"}
    assert owner.patch(f"/api/events/{event['id']}/", json={}).json() == answer.json()


@pytest.mark.parametrize(
    "change",
    [{"end_time": "2027-06-05T18:00:00Z"}, {"start_time": "2027-06-06T01:00:00+02:00"}],
    ids=["end", "start"],
)
def test_patch_checks_the_event_that_comes_out_of_it(
    owner: httpx.Client, change: dict[str, str]
) -> None:
    event = make_event(owner)
    answer = owner.patch(f"/api/events/{event['id']}/", json=change)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"end_time": ["must be after start_time"]}
    assert owner.get(f"/api/events/{event['id']}/").json() == event


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", None),
        ("title", ""),
        ("title", " \t "),
        ("title", "x" * 201),
        ("title", 5),
        ("title", "a\0b"),
        ("title", "\ud800"),
        ("description", None),
        ("description", "a\0b"),
        ("description", "\udfff"),
        ("start_time", None),
        ("start_time", "2027-06-05T18:00:00"),
        ("start_time", "2027-06-05"),
        ("start_time", "soon"),
        ("start_time", 1_800_000_000),
        ("start_time", "1800000000"),
        ("start_time", "0001-01-01T00:00:00+14:00"),
        ("end_time", "9999-12-31T23:59:59-14:00"),
        ("end_time", "10000-01-01T00:00:00Z"),
        ("end_time", "2027-06-05T18:00:00Z"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_bad_field_is_refused_by_its_name(
    owner: httpx.Client, method: str, field: str, value: object
) -> None:
    path = "/api/events/" if method == "POST" else f"/api/events/{make_event(owner)['id']}/"
    answer = owner.request(method, path, content=json.dumps(EVENT | {field: value}))
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == [field]


@pytest.mark.parametrize(
    "written", ["2027-06-05T18:00:00", "2027-06-05", "2027-06-05T18:00:00 02:00", 1_800_000_000]
)
def test_a_time_without_its_offset_is_told_what_one_looks_like(
    owner: httpx.Client, written: object
) -> None:
    errors = owner.post("/api/events/", json=EVENT | {"start_time": written}).json()["errors"]
    told = "must be a time with its offset, such as 2026-11-22T20:00:00Z"
    assert errors == {"start_time": [told]}


def test_every_missing_field_is_named(owner: httpx.Client) -> None:
    answer = owner.post("/api/events/", json={})
    assert answer.status_code == 400
    assert sorted(answer.json()["errors"]) == ["end_time", "start_time", "title"]


@pytest.mark.parametrize(
    "event_id", ["0", "-1", "999999999", "9223372036854775808", "9" * 5000, "x", "1.0", "%00", "²"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_an_id_that_no_event_has_is_not_found(
    owner: httpx.Client, method: str, event_id: str
) -> None:
    body = EVENT if method in ("PUT", "PATCH") else None
    answer = owner.request(method, f"/api/events/{event_id}/", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_event_without_purchases_is_deleted_with_its_ticket_types(owner: httpx.Client) -> None:
    ticket_type = make_ticket_type(owner)
    path = f"/api/events/{ticket_type['event']}/"
    assert owner.delete(path).status_code == 204
    assert owner.get(path).status_code == 404
    assert owner.get(f"/api/ticket-types/{ticket_type['id']}/").status_code == 404


@pytest.mark.parametrize("purchase", [queue_purchase, sell], ids=["queued", "sold"])
def test_an_event_with_a_purchase_cannot_be_deleted(
    owner: httpx.Client, database: Engine, purchase: Purchase
) -> None:
    ticket_type = make_ticket_type(owner)
    purchase(database, ticket_type["id"], user_id_of(owner), 1)
    answer = owner.delete(f"/api/events/{ticket_type['event']}/")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert owner.get(f"/api/events/{ticket_type['event']}/").status_code == 200


def test_a_search_finds_words_in_title_and_description(owner: httpx.Client) -> None:
    make_event(owner, title="Jazz night", description="100% acoustic, at the Old Mill")
    make_event(owner, title="Rock night", description="under_score")
    assert titles(owner, search="NIGHT") == ["Jazz night", "Rock night"]
    assert titles(owner, search="mill jazz") == ["Jazz night"]
    assert titles(owner, search="100%") == ["Jazz night"]
    assert titles(owner, search="r_s") == ["Rock night"]
    for wildcard in ("n%ght", "n_ght", "/%", "\\%"):
        assert titles(owner, search=wildcard) == []
    assert titles(owner, search="  ") == ["Jazz night", "Rock night"]


@pytest.mark.parametrize(
    ("title", "search"),
    [
        (
            "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u0391\u03a3",
            "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03b1\u03c2",
        ),
        (
            "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03b1\u03c2",
            "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u0391\u03a3",
        ),
        ("Cafe\u0301 Müller", "CAFÉ MU\u0308LLER"),
        ("Café Müller", "cafe\u0301 mu\u0308ller"),
        ("Straßenfest", "STRASSENFEST"),
        ("STRASSENFEST", "straßenfest"),
        ("\u0130stanbul", "i\u0307stanbul"),
        ("\uff2a\uff21\uff3a\uff3a", "jazz"),
        ("O\ufb03ce", "office"),
        ("Kon\u00adzert", "konzert"),
        ("\u13e3\u13b3\u13a9", "\uabb3\uab83\uab79"),
        ("\uac00", "\u1100\u1161"),
    ],
)
def test_a_search_compares_folded_text(owner: httpx.Client, title: str, search: str) -> None:
    found = make_event(owner, title=title)["title"]
    make_event(owner, title="Something else")
    assert titles(owner, search=search) == [found]
    make_event(owner, title="Another", description=f"With {title}.")
    assert titles(owner, search=search) == [found, "Another"]


def test_a_changed_title_is_found_by_its_new_words(owner: httpx.Client) -> None:
    event = make_event(owner, title="Straße")
    owner.patch(f"/api/events/{event['id']}/", json={"title": "ΟΔΟΣ"})
    assert (titles(owner, search="strasse"), titles(owner, search="οδος")) == ([], ["ΟΔΟΣ"])


def test_text_is_stored_in_one_normal_form(owner: httpx.Client) -> None:
    event = make_event(owner, title="Cafe\u0301", description="u\u0308ber")
    assert (event["title"], event["description"]) == ("Caf\u00e9", "\u00fcber")
    assert make_event(owner, title="e\u0301" * 200)["title"] == "\u00e9" * 200


def test_an_event_of_a_former_version_is_found_as_it_was(
    owner: httpx.Client, database: Engine
) -> None:
    make_event(owner, title="Jazz night")
    run(database, "UPDATE events SET search_text = NULL")
    assert titles(owner, search="NIGHT jazz") == ["Jazz night"]
    assert titles(owner, search="blues") == []


def test_a_list_is_filtered_by_owner_and_start(
    owner: httpx.Client, someone_else: httpx.Client
) -> None:
    make_event(owner, title="Earlier")
    make_event(owner, title="Later", start_time="2027-06-05T20:00:00Z")
    make_event(someone_else, title="Theirs")
    assert titles(owner) == ["Earlier", "Later"]
    assert titles(owner, owner=str(user_id_of(someone_else))) == ["Theirs"]
    assert titles(owner, starts_after="2027-06-05T20:00:00+02:00") == ["Later"]


def test_a_list_is_ordered_as_asked(owner: httpx.Client) -> None:
    make_event(owner, title="b", start_time="2027-06-05T17:00:00Z")
    make_event(owner, title="a")
    make_event(owner, title="c", end_time="2027-06-05T22:00:00Z")
    assert titles(owner) == ["b", "a", "c"]
    assert titles(owner, ordering="title") == ["a", "b", "c"]
    assert titles(owner, ordering="-title") == ["c", "b", "a"]
    assert titles(owner, ordering="start_time") == ["b", "a", "c"]
    assert titles(owner, ordering="end_time") == ["c", "b", "a"]
    assert titles(owner, ordering="-id") == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ordering", "owner"),
        ("ordering", "title;--"),
        ("owner", "you"),
        ("owner", "9223372036854775808"),
        ("starts_after", "tomorrow"),
        ("starts_after", "2027-06-05T20:00:00"),
        ("search", "\0"),
        ("search", "x" * 201),
        ("search", "e" + "\u0301" * 31),
        ("page_size", "0"),
        ("page_size", "many"),
    ],
)
def test_a_bad_query_is_refused_by_its_name(owner: httpx.Client, name: str, value: str) -> None:
    answer = owner.get("/api/events/", params={name: value})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [name]


def test_a_list_comes_in_pages_that_lead_to_one_another(owner: httpx.Client) -> None:
    for number in range(5):
        make_event(owner, title=f"Night {number}")
    url = "/api/events/?owner=me&page_size=2&search=night"
    seen = []
    while url is not None:
        page = owner.get(url).json()
        assert page["count"] == 5
        seen.append([event["title"] for event in page["results"]])
        last, url = page, page["next"]
    assert seen == [["Night 0", "Night 1"], ["Night 2", "Night 3"], ["Night 4"]]
    assert owner.get(last["previous"]).json()["results"][0]["title"] == "Night 2"


def test_the_links_of_a_page_lead_through_the_door_that_the_client_came_by(
    owner: httpx.Client,
) -> None:
    make_event(owner)
    make_event(owner)
    door = {"X-Forwarded-Host": "tickets.example", "X-Forwarded-Proto": "https"}
    page = owner.get("/api/events/?owner=me&page_size=1", headers=door).json()
    assert page["next"] == "https://tickets.example/api/events/?owner=me&page_size=1&page=2"
    page = owner.get(page["next"].removeprefix("https://tickets.example"), headers=door).json()
    assert page["previous"] == "https://tickets.example/api/events/?owner=me&page_size=1"
    page = owner.get("/api/events/?page_size=1", headers={"Host": "inside:81"}).json()
    assert page["next"] == "http://inside:81/api/events/?page_size=1&page=2"


@pytest.mark.parametrize("page", ["2", "0", "-1", "x", "", "1.0", "9" * 30])
def test_a_page_that_is_not_there_is_not_found(owner: httpx.Client, page: str) -> None:
    answer = owner.get("/api/events/", params={"owner": "me", "page": page})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Invalid page.")


def test_a_list_without_results_has_one_empty_page(owner: httpx.Client) -> None:
    page = owner.get("/api/events/", params={"owner": "me", "page": "1", "page_size": "1000"})
    assert page.json() == {"count": 0, "next": None, "previous": None, "results": []}
