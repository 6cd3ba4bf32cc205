"""Events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import (
    EVENTS,
    PURCHASES,
    TICKET_TYPES,
    WAIT,
    buy,
    create,
    event_fields,
)
from tests.system.selling import ticket_type_fields as ticket_type

NO_OFFSET = "Must be a time with its offset, such as 2026-11-22T20:00:00Z."


@pytest.fixture
def owner(shop: Shop) -> httpx.Client:
    """A new organiser, whose list of own events is empty."""
    return shop.user()


def new_event(owner: httpx.Client, **fields: Any) -> dict[str, Any]:
    return create(owner, EVENTS, event_fields(**fields))


def address(event: dict[str, Any]) -> str:
    return f"{EVENTS}{event['id']}/"


def writes(owner: httpx.Client, event: dict[str, Any], **fields: Any) -> list[httpx.Response]:
    """The answers to a POST, a PUT and a PATCH of the same fields."""
    return [
        owner.post(EVENTS, json=event_fields(**fields)),
        owner.put(address(event), json=event_fields(**fields)),
        owner.patch(address(event), json=fields),
    ]


def titles(client: httpx.Client, **query: str) -> list[str]:
    """The titles of one's own events, as a list shows them."""
    page = client.get(EVENTS, params={"owner": "me"} | query)
    assert page.status_code == 200, page.text
    return [event["title"] for event in page.json()["results"]]


# --- the fields ---


def test_fields(owner: httpx.Client) -> None:
    event = new_event(owner)
    assert event.keys() == {
        *("id", "title", "description", "start_time", "end_time", "owner"),
        *("currency", "max_per_user", "published", "show_left", "payment_url", "notice"),
        *("created_at", "updated_at"),
    }
    assert (event["published"], event["show_left"]) == (False, False)
    assert (event["payment_url"], event["notice"]) == (None, "")
    assert isinstance(event["id"], int)
    assert event["owner"] == owner.get("/api/users/me/").json()["id"]
    assert event["description"] == ""


def test_title_has_1_to_200_characters(owner: httpx.Client) -> None:
    event = new_event(owner, title="e\u0301" * 200)
    assert event["title"] == "é" * 200  # in one normal form, which is counted
    for bad in ("", " \t ", "x" * 201, None, 7, "nul\0"):
        for answer in writes(owner, event, title=bad):
            check_invalid(answer, "title")
    assert owner.get(address(event)).json() == event


def test_description_has_at_most_10_000_characters(owner: httpx.Client) -> None:
    event = new_event(owner, description="u\u0308ber")
    assert event["description"] == "über"
    for bad in ("x" * 10_001, None, 7, "nul\0"):
        for answer in writes(owner, event, description=bad):
            check_invalid(answer, "description")
    for answer in writes(owner, event, description="x" * 10_000):
        assert answer.json()["description"] == "x" * 10_000


def test_end_time_is_after_start_time(owner: httpx.Client) -> None:
    event = new_event(owner)
    for bad in (event["start_time"], "2020-01-01T00:00:00Z"):
        for answer in writes(owner, event, start_time=event["start_time"], end_time=bad):
            check_invalid(answer, "end_time")
        check_invalid(owner.patch(address(event), json={"end_time": bad}), "end_time")
    late = owner.patch(address(event), json={"start_time": "2999-01-01T00:00:00Z"})
    assert check_problem(late, 400, "invalid")["errors"] == {
        "end_time": ["Must be after start_time."]
    }
    assert owner.get(address(event)).json() == event


def test_start_time_and_end_time_are_aware_datetimes(owner: httpx.Client) -> None:
    event = new_event(owner, start_time="2030-06-05T20:00:00.5+02:00", end_time="9999-12-31T23:59Z")
    assert event["start_time"] == "2030-06-05T18:00:00.500000Z"
    assert event["end_time"] == "9999-12-31T23:59:00Z"
    for field in ("start_time", "end_time"):
        for bad in ("2031-06-05T20:00:00 02:00", "2031-06-05T20:00:00", "2031-06-05", 1.9e9, "1e9"):
            for answer in writes(owner, event, **{field: bad}):
                assert check_problem(answer, 400, "invalid")["errors"] == {field: [NO_OFFSET]}, bad
        beyond = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00Z")
        for bad in (*beyond, None):
            check_invalid(owner.post(EVENTS, json=event_fields(**{field: bad})), field)


def test_currency_is_one_of_iso_4217_and_eur_by_default(owner: httpx.Client) -> None:
    event = new_event(owner, currency="CHF")
    assert (event["currency"], new_event(owner)["currency"]) == ("CHF", "EUR")
    for bad in (
        "eur",
        "EU",
        "EURO",
        "E R",
        "EUR\n",
        "",
        "\uff25UR",
        978,
        None,
        "EVE",
        "DEM",
        "XXX",
    ):
        for answer in writes(owner, event, currency=bad):
            check_invalid(answer, "currency")
    assert owner.patch(address(event), json={"title": "Opera"}).json()["currency"] == "CHF"
    assert owner.put(address(event), json=event_fields()).json()["currency"] == "EUR"


def test_max_per_user_of_an_event_null_is_none(owner: httpx.Client) -> None:
    event = new_event(owner, max_per_user=2**31 - 1)
    assert (event["max_per_user"], new_event(owner)["max_per_user"]) == (2**31 - 1, None)
    for bad in (0, -1, 2**31, 1.5, "2", True):
        for answer in writes(owner, event, max_per_user=bad):
            check_invalid(answer, "max_per_user")
    limited = owner.patch(address(event), json={"max_per_user": 3}).json()
    assert limited == event | {"max_per_user": 3, "updated_at": limited["updated_at"]}
    unlimited = owner.patch(address(event), json={"max_per_user": None}).json()
    assert unlimited == limited | {"max_per_user": None, "updated_at": unlimited["updated_at"]}


def test_a_sale_is_published_and_shows_what_is_left_by_true_or_false(owner: httpx.Client) -> None:
    event = new_event(owner, published=True, show_left=True)
    assert (event["published"], event["show_left"]) == (True, True)
    for field in ("published", "show_left"):
        for bad in (None, 1, "true"):
            for answer in writes(owner, event, **{field: bad}):
                check_invalid(answer, field)
    hidden = owner.patch(address(event), json={"published": False}).json()
    assert hidden == event | {"published": False, "updated_at": hidden["updated_at"]}
    assert not owner.put(address(event), json=event_fields()).json()["show_left"]


def test_payment_url_is_an_address_that_a_browser_opens(owner: httpx.Client) -> None:
    good = "https://shop.example:8443/pay?lang=en#top"
    event = new_event(owner, payment_url=good)
    assert event["payment_url"] == good
    for bad in (
        "",
        "javascript:alert(1)",
        "https://user:password@shop.example/",
        "https://shop.example/a b",
        f"https://shop.example/{'x' * 2_000}",
        7,
    ):
        for answer in writes(owner, event, payment_url=bad):
            check_invalid(answer, "payment_url")
    assert owner.patch(address(event), json={"payment_url": None}).json()["payment_url"] is None


def test_the_notice_is_set_by_its_owner_alone_and_no_other_write_changes_it(
    owner: httpx.Client, buyer: httpx.Client
) -> None:
    event = new_event(owner, notice="ignored")
    notice = f"{address(event)}notice/"
    told = owner.put(notice, json={"text": " Doors open at 19:00.\n"})
    text = {"notice": "Doors open at 19:00.", "updated_at": told.json()["updated_at"]}
    assert told.json() == event | text
    for bad in ("x" * 501, "nul\0", "\u202e", None, 7):
        check_invalid(owner.put(notice, json={"text": bad}), "text")
    check_invalid(owner.put(notice, json={}), "text")
    check_problem(buyer.put(notice, json={"text": "Mine"}), 403, "permission_denied")
    stale = owner.put(notice, json={"text": "Late"}, headers={"If-Match": '"stale"'})
    check_problem(stale, 412, "precondition_failed")
    for method in ("PUT", "PATCH"):
        replaced = owner.request(method, address(event), json=event_fields(notice="Other"))
        assert replaced.json()["notice"] == "Doors open at 19:00."
    read = owner.get(address(event))
    tag = {"If-Match": read.headers["ETag"]}
    assert owner.put(notice, json={"text": ""}, headers=tag).json()["notice"] == ""


def test_what_a_purchase_was_accepted_with_stays(owner: httpx.Client, buyer: httpx.Client) -> None:
    event = new_event(owner, currency="CHF", max_per_user=2)
    under_it = create(owner, TICKET_TYPES, ticket_type(event["id"]))
    bought = buy(buyer, under_it["id"], 2, **WAIT).json()
    owner.patch(address(event), json={"currency": "USD", "max_per_user": 4})
    assert buyer.get(f"{PURCHASES}{bought['id']}/").json() == bought
    later = buy(buyer, under_it["id"], 2, **WAIT).json()
    assert (bought["currency"], later["currency"]) == ("CHF", "USD")
    check_problem(buy(buyer, under_it["id"], 1, **WAIT), 400, "over_user_limit")


def test_delete_with_any_purchase_under_it_answers_409(
    shop: Shop, owner: httpx.Client, buyer: httpx.Client
) -> None:
    def sold(quantity: int, status: int, **headers: str) -> dict[str, Any]:
        event = new_event(owner)
        under_it = create(owner, TICKET_TYPES, ticket_type(event["id"], max_per_purchase=99))
        assert buy(buyer, under_it["id"], quantity, **headers).status_code == status
        return event

    with shop.decisions_suspended():
        check_problem(owner.delete(address(sold(1, 202))), 409, "conflict")
    for event in (sold(1, 201, **WAIT), sold(11, 400, **WAIT)):  # confirmed, and rejected
        check_problem(owner.delete(address(event)), 409, "conflict")
        assert owner.get(address(event)).json() == event


def test_delete_deletes_its_ticket_types(owner: httpx.Client) -> None:
    event = new_event(owner)
    under_it = create(owner, TICKET_TYPES, ticket_type(event["id"]))
    assert owner.delete(address(event)).status_code == 204
    check_problem(owner.get(f"{TICKET_TYPES}{under_it['id']}/"), 404, "not_found")


# --- the list ---


def test_list_search(owner: httpx.Client) -> None:
    wood, rock = "Symphony of 100% Wood", "Rock am Ring"
    new_event(owner, title=wood, description="By candlelight")
    new_event(owner, title=rock, description="Loud_er")
    for words, found in {
        "symphony": [wood],
        "CANDLE": [wood],
        "rock loud": [rock],
        "rock symphony": [],
        "0%": [wood],
        "d_e": [rock],
        "%": [wood],
        "r_ck": [],
        "r%k": [],
        "\\%": [],
        "  ": [wood, rock],
        " ".join(10 * "o"): [wood, rock],
    }.items():
        assert titles(owner, search=words) == found, words
    for bad in ("\0", "x" * 201, "e" + "\u0301" * 31, " ".join(11 * "o")):
        check_invalid(owner.get(EVENTS, params={"search": bad}), "search")


def test_list_search_compares_folded_text(owner: httpx.Client) -> None:
    event = new_event(owner, title="Straßenfest", description="Im Cafe\u0301 Müller")
    for words in ("STRASSENFEST", "strassen", "CAFÉ MU\u0308LLER"):
        assert titles(owner, search=words) == ["Straßenfest"]
    owner.patch(address(event), json={"title": "ΟΔΟΣ"})
    assert (titles(owner, search="strasse"), titles(owner, search="οδος")) == ([], ["ΟΔΟΣ"])


def test_list_owner_me(owner: httpx.Client, buyer: httpx.Client) -> None:
    event = new_event(owner)
    page = owner.get(EVENTS, params={"owner": "me"}).json()
    assert (page["count"], page["results"]) == (1, [event])
    assert buyer.get(EVENTS, params={"owner": "me"}).json()["count"] == 0
    by_id = buyer.get(EVENTS, params={"owner": event["owner"]}).json()
    assert by_id["results"] == [event]
    for bad in ("you", "9223372036854775808"):
        check_invalid(owner.get(EVENTS, params={"owner": bad}), "owner")


def test_list_starts_after(owner: httpx.Client) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    for days in (0, 1, 2):
        begin = starts + timedelta(days=days)
        end = begin + timedelta(hours=1)
        times = {"start_time": begin.isoformat(), "end_time": end.isoformat()}
        new_event(owner, title=f"Day {days}", **times)
    second = (starts + timedelta(days=1)).isoformat()
    assert titles(owner, starts_after=second) == ["Day 2"]
    for bad in ("soon", "2027-06-05T20:00:00"):
        check_invalid(owner.get(EVENTS, params={"starts_after": bad}), "starts_after")


def test_list_ordering(owner: httpx.Client) -> None:
    for title, month, year in (("B", "03", 2031), ("A", "02", 2033), ("C", "01", 2032)):
        times = {"start_time": f"2031-{month}-01T18:00:00Z", "end_time": f"{year}-04-02T18:00Z"}
        new_event(owner, title=title, **times)
    for ordering, found in {
        "id": "BAC",
        "-id": "CAB",
        "start_time": "CAB",
        "-start_time": "BAC",
        "end_time": "BCA",
        "title": "ABC",
        "-title": "CBA",
    }.items():
        assert "".join(titles(owner, ordering=ordering)) == found
    assert titles(owner) == ["B", "A", "C"]
    for bad in ("owner_password", "title;--"):
        check_invalid(owner.get(EVENTS, params={"ordering": bad}), "ordering")
