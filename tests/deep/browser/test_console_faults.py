"""The console where requests fail, presses come twice, and views are left before they are ready."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.steps import client_of, confirm, register
from tests.browser.visitors import Visitors
from tests.deep.browser.test_console import Organiser, on_sale
from tests.system.conftest import Shop
from tests.system.selling import EVENTS, TICKET_TYPES, create, event_fields, ticket_type_fields

BUSY = '{"code": "too_many_requests", "detail": "Too many requests."}'
PROBLEM = "application/problem+json"
# Notes each time that the outcome is written whether a dialog was in its way.
WATCH_OUTCOME = """() => {
  window.inTheWay = [];
  new MutationObserver(() => inTheWay.push(document.querySelector("dialog[open]") !== null))
    .observe(document.querySelector("#outcome"),
      { childList: true, characterData: true, subtree: true });
}"""
TWICE = "button => { button.click(); button.click(); }"


@pytest.fixture
def organiser(shop: Shop, visitors: Visitors) -> Organiser:
    page = visitors.visitor(width=1440, height=1000)
    page.goto("/console/")
    username = register(page, "organiser")
    expect(page.get_by_role("heading", name="My events")).to_be_focused()
    return Organiser(page, client_of(shop, username), username)


def ids_of(paths: list[str]) -> list[int]:
    return [int(re.findall(r"ticket-types/(\d+)/", path)[0]) for path in paths]


def hold(page: Page, url: str, **how: Any) -> list[Route]:
    """Requests that nobody answers yet."""
    held: list[Route] = []

    def add(route: Route) -> None:
        held.append(route)

    page.route(url, add, **how)
    return held


def outcome(page: Page, words: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("status").filter(has_text=words)


def test_a_pause_that_was_cut_short_says_so_and_goes_on(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("429 to POST .*/pause/")
    event, first = on_sale(organiser.client)
    others = [
        create(organiser.client, TICKET_TYPES, ticket_type_fields(event, name=name))["id"]
        for name in ("A", "B", "C", "D", "E")
    ]
    organiser.open_event(event)
    page, sent, is_busy = organiser.page, list[str](), [True]

    def limit(route: Route) -> None:
        sent.append(route.request.url)
        if len(sent) > 2 and is_busy:
            headers = {"Retry-After": "1"}
            route.fulfill(status=429, content_type=PROBLEM, headers=headers, body=BUSY)
        else:
            route.continue_()

    page.route("**/pause/", limit)
    page.get_by_role("button", name="Pause all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Pause the sale").click()
    expect(dialog.get_by_role("alert")).to_contain_text("2 of 6 are paused.")
    done = set(ids_of(sent[:2]))
    assert len(sent) > 6  # it did try again by itself
    sent.clear()
    is_busy.clear()
    confirm(page, "Pause the sale")
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    assert sorted(ids_of(sent)) == sorted({first, *others} - done)


def test_at_most_four_ticket_types_are_paused_at_once(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    for name in ("A", "B", "C", "D", "E"):
        create(organiser.client, TICKET_TYPES, ticket_type_fields(event, name=name))
    organiser.open_event(event)
    page = organiser.page
    held = hold(page, "**/pause/")
    page.get_by_role("button", name="Pause all").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause the sale").click()
    page.wait_for_timeout(500)
    assert len(held) == 4
    for sent in range(6):
        while len(held) == sent:
            page.wait_for_timeout(50)
        held[sent].continue_()
    expect(outcome(page, "Paused: all 6 ticket types")).to_be_visible()


def with_another_listed(page: Page, id_: int) -> None:
    """A ticket type more in the list than in the live figures."""

    def add_one(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        body["results"].append(body["results"][0] | {"id": id_, "name": "Last"})
        route.fulfill(response=response, body=json.dumps(body))

    page.route("**/api/ticket-types/?event=*", add_one)


def test_ticket_types_beyond_the_live_figures_are_paused_too(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    page, beyond, sent = organiser.page, 999_999_999, list[str]()

    def with_one_in_the_figures(route: Route) -> None:
        response = route.fetch()
        assert "LIVE_TYPES_MAX = 200;" in response.text()
        body = response.text().replace("LIVE_TYPES_MAX = 200;", "LIVE_TYPES_MAX = 1;")
        route.fulfill(response=response, body=body)

    def accept(route: Route) -> None:
        sent.append(route.request.url)
        route.fulfill(status=200, content_type="application/json", body="{}")

    page.route("**/console/sale.js", with_one_in_the_figures)
    with_another_listed(page, beyond)
    page.route("**/pause/", accept)
    organiser.open_event(event)
    page.get_by_role("button", name="Pause all").click()
    expect(page.get_by_role("dialog")).to_contain_text("all 2 ticket types")
    confirm(page, "Pause the sale")
    assert beyond in ids_of(sent)
    page.unroute_all(behavior="ignoreErrors")


def test_thousands_of_ticket_types_are_read_as_the_limit_of_lists_lets_them(
    organiser: Organiser, visitors: Visitors
) -> None:
    """By two hundred and one: the live figures have two hundred."""
    visitors.expect_problem("429 to GET .*/ticket-types/")
    event, _ = on_sale(organiser.client)
    for nth in range(200):
        create(organiser.client, TICKET_TYPES, ticket_type_fields(event, name=f"{nth}"))
    page, limited, beyond = organiser.page, set[str](), list[Route]()

    def reread_soon(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace("REREAD_MS = 15_000;", "REREAD_MS = 500;")
        route.fulfill(response=response, body=body)

    def limit_once(route: Route) -> None:
        url = route.request.url
        if url not in limited:
            limited.add(url)
            headers = {"Retry-After": "1"}
            route.fulfill(status=429, content_type=PROBLEM, headers=headers, body=BUSY)
        elif "page=3" in url:
            beyond.append(route)
        else:
            route.continue_()

    page.route("**/console/sale.js", reread_soon)
    page.route("**/api/ticket-types/?event=*", limit_once)
    organiser.open_event(event)
    expect(page.locator(".types [data-figure=terms]").last).to_contain_text("25.00")
    while not beyond:
        page.wait_for_timeout(50)
    with page.expect_request(lambda request: "page=2" in request.url):
        pass  # it is read again, and only what the page shows
    assert len(beyond) == 1
    page.get_by_role("button", name="Pause all").click()
    while len(beyond) < 2:
        page.wait_for_timeout(50)
    for route in beyond:
        route.continue_()
    expect(page.get_by_role("dialog")).to_contain_text("all 201 ticket types")
    page.unroute_all(behavior="ignoreErrors")


def test_a_ticket_type_that_was_deleted_elsewhere_is_not_paused(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    with_another_listed(organiser.page, 999_999_999)
    organiser.open_event(event)
    expect(organiser.page.locator(".types [data-figure=terms]")).to_contain_text("25.00")
    expect(organiser.page.get_by_role("button", name="Pause all")).to_be_hidden()


def test_a_list_that_cannot_be_read_does_not_end_the_live_page(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("503 to GET .*/ticket-types/")
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page, listed = organiser.page, "**/api/ticket-types/?event=*"
    page.route(listed, lambda route: route.fulfill(status=503))
    with page.expect_response(lambda response: response.status == 503):
        create(organiser.client, TICKET_TYPES, ticket_type_fields(event, name="Seats"))
    row = page.get_by_role("row", name="Seats")
    expect(row).to_be_visible()
    expect(page.locator(".freshness")).to_have_text("Live")
    page.unroute(listed)
    expect(row.locator("[data-figure=terms]")).to_contain_text("25.00")


def test_what_is_changed_elsewhere_is_shown_on_an_open_page(organiser: Organiser) -> None:
    event, ticket_type = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    page.get_by_role("button", name="Capacity").click()
    page.get_by_label("Change").fill("-4")
    changes = {"title": "Second night", "published": True}
    assert organiser.client.patch(f"{EVENTS}{event}/", json=changes).status_code == 200
    path = f"{TICKET_TYPES}{ticket_type}/"
    assert organiser.client.patch(path, json={"price": "31.00"}).status_code == 200
    expect(page.locator("h1")).to_have_text("Second night")
    expect(page).to_have_title(re.compile("left · Second night · Console"))
    expect(page.locator(".types [data-figure=terms]")).to_contain_text("31.00")
    expect(page.locator(".publish")).to_have_text("Unpublish")
    expect(page.get_by_label("Change")).to_be_focused()
    expect(page.get_by_label("Change")).to_have_value("-4")


@pytest.mark.parametrize(
    ("zone", "time", "shown"),
    [
        ("Europe/Berlin", {"end_time": "9999-12-31T23:59:59Z"}, "9999-12-31T23:59"),
        ("America/Los_Angeles", {"start_time": "0001-01-01T00:00:00Z"}, "0001-01-01T00:00"),
    ],
)
def test_an_event_of_the_first_or_last_day_that_there_is_can_be_edited(
    organiser: Organiser, zone: str, time: dict[str, str], shown: str
) -> None:
    event = create(organiser.client, EVENTS, event_fields(**time))["id"]
    page = organiser.page
    override = {"timezoneId": zone}
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", override)
    page.goto(f"/console/#/events/{event}/edit")
    expect(page.locator(f"[name={next(iter(time))}]")).to_have_value(shown)
    page.get_by_label("Title").fill("Renamed")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("h1")).to_have_text("Renamed")
    stored = organiser.client.get(f"{EVENTS}{event}/").json()
    assert stored["title"] == "Renamed"
    assert stored | time == stored


def test_a_time_that_is_typed_straight_through_has_a_year_of_four_digits(
    organiser: Organiser,
) -> None:
    page = organiser.page
    page.goto("/console/#/events/new")
    page.get_by_label("Title").fill("Concert")
    for label, time in (("Starts", "0800PM"), ("Ends", "1100PM")):
        page.get_by_label(label).focus()
        page.keyboard.type(f"06052027{time}")
    expect(page.get_by_label("Ends")).to_have_value("2027-06-05T23:00")
    # As a paste may have it.
    page.get_by_label("Ends").fill("20277-06-05T23:00")
    create_it = page.get_by_role("button", name="Create the event")
    create_it.click()
    assert page.get_by_label("Ends").evaluate("field => field.validity.rangeOverflow")
    page.get_by_label("Ends").fill("2027-06-05T23:00")
    create_it.click()
    expect(page.get_by_role("heading", name="Concert")).to_be_visible()


def test_what_became_of_an_action_is_read_out(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    # A live region that is not there yet is not read out when it comes.
    display = "outcome => getComputedStyle(outcome).display"
    assert page.locator("#outcome").evaluate(display) != "none"
    page.evaluate(WATCH_OUTCOME)
    page.get_by_role("button", name="Pause the sale").click()
    confirm(page, "Pause the sale")
    expect(outcome(page, "Paused: “Standing”")).to_be_visible()
    page.locator(".edit-type").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the ticket type").click()
    expect(outcome(page, "Deleted: Standing")).to_be_visible()
    assert page.evaluate("inTheWay") == [False, False]


def test_an_action_leaves_the_list_of_webhooks_as_it_was(organiser: Organiser) -> None:
    for path in ("one", "two"):
        body = {"url": f"https://shop.example/{path}", "kinds": ["confirmed"]}
        create(organiser.client, "/api/webhooks/", body)
    page = organiser.page
    page.goto("/console/#/webhooks")
    card = page.locator(".webhook", has_text="https://shop.example/two")
    card.get_by_text("Latest deliveries").click()
    test = card.get_by_role("button", name="Send a test")
    test.click()
    confirm(page, "Send the test")
    expect(card.locator("details")).to_have_attribute("open", "")
    expect(test).to_be_focused()
    expect(card.locator("details tbody tr")).not_to_have_count(0)

    card.get_by_role("button", name="Disable").click()
    confirm(page, "Disable")
    expect(card.get_by_role("button", name="Enable")).to_be_focused()
    expect(card.locator("details tbody tr")).not_to_have_count(0)
    expect(page.locator("details[open]")).to_have_count(1)
    card.get_by_role("button", name="Delete").click()
    confirm(page, "Delete the webhook")
    expect(page.get_by_role("heading", name="Webhooks")).to_be_focused()


def test_who_revoked_a_key_is_at_the_heading(organiser: Organiser) -> None:
    create(organiser.client, "/api/keys/", {"name": "Shop", "scopes": ["read"]})
    page = organiser.page
    page.goto("/console/#/keys")
    page.get_by_role("button", name="Revoke: Shop").click()
    confirm(page, "Revoke the key")
    expect(page.get_by_role("heading", name="API keys")).to_be_focused()


def test_more_events_are_listed_once_and_are_of_the_last_search(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("50[03] to GET .*/api/events/")
    titles = ("First", "Second")
    events = [create(organiser.client, EVENTS, event_fields(title=title)) for title in titles]
    page = organiser.page

    def answer(route: Route) -> None:
        url = route.request.url
        if "search=" in url or ("page=2" in url and failing):
            route.fulfill(status=503)
            return
        is_first = "page=2" not in url
        body: dict[str, Any] = {
            "count": 2,
            "results": events[:1] if is_first else events[1:],
            "next": f"{url}&page=2" if is_first else None,
        }
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    failing = [True]
    page.route("**/api/events/?owner=me*", answer)
    page.reload()
    rows, more = page.locator("tbody tr"), page.get_by_role("button", name="Show more")
    more.click()
    expect(outcome(page, "Wait a moment and try again")).to_be_visible()
    failing.clear()
    more.evaluate(TWICE)
    expect(page.get_by_role("link", name="Second")).to_be_focused()
    page.wait_for_timeout(500)
    assert rows.count() == 2
    page.reload()
    expect(more).to_be_visible()
    page.get_by_role("searchbox").fill("night")
    page.get_by_role("searchbox").press("Enter")
    expect(outcome(page, "Wait a moment and try again")).to_be_visible()
    expect(more).to_be_hidden()


def test_a_search_that_fails_keeps_no_verdict_of_the_one_before(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("503 to GET .*/api/events/")
    create(organiser.client, EVENTS, event_fields(title="First"))
    page = organiser.page
    searched, none = page.get_by_role("searchbox"), page.get_by_text("No event of yours has these")
    searched.fill("night")
    searched.press("Enter")
    expect(none).to_be_visible()
    page.route("**/api/events/?owner=me*", lambda route: route.fulfill(status=503), times=1)
    searched.fill("")
    searched.press("Enter")
    expect(page.get_by_text("The list could not be read.")).to_be_visible()
    expect(none).to_be_hidden()
    searched.press("Enter")
    expect(page.get_by_role("link", name="First")).to_be_visible()


def test_a_button_that_copies_is_itself_again(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    organiser.client.patch(f"{EVENTS}{event}/", json={"published": True})
    organiser.open_event(event)
    button = organiser.page.locator(".buyers button")
    for _ in range(2):
        button.click()
        expect(button).not_to_have_text("Copy")
    expect(button).to_have_text("Copy")


def test_a_view_that_was_left_asks_nothing(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    page = organiser.page
    held = hold(page, "**/console/actions.js")
    organiser.open_event(event)
    page.get_by_role("button", name="Pause the sale").click()
    page.goto("/console/#/keys")
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    for route in held:
        route.continue_()
    page.wait_for_timeout(1_000)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_list_that_comes_after_its_view_was_left_asks_nothing(organiser: Organiser) -> None:
    page = organiser.page
    page.goto("/console/#/webhooks")
    held = hold(page, "**/api/events/?owner=me&*page_size=100")
    page.get_by_role("button", name="New webhook").click()
    expect(page.locator("h1")).to_have_text("Webhooks")
    page.goto("/console/#/keys")
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    (route,) = held
    route.continue_()
    page.wait_for_timeout(1_000)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_button_that_is_pressed_twice_asks_once(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    page.get_by_role("button", name="Pause the sale").evaluate(TWICE)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.locator("dialog[open]").count() == 1


def escape(page: Page) -> None:
    """Again and again: a page may refuse the first one alone."""
    for _ in range(3):
        page.keyboard.press("Escape")
        page.wait_for_timeout(100)


def test_a_secret_is_shown_until_it_is_stored(organiser: Organiser) -> None:
    page = organiser.page
    page.goto("/console/#/keys")
    page.get_by_role("button", name="New API key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Shop")
    page.get_by_role("button", name="Create the key").click()
    stored = page.get_by_role("button", name="I have stored it")
    expect(stored).to_be_visible()
    escape(page)
    expect(stored).to_be_visible()
    stored.click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("row", name="Shop")).to_be_visible()


def test_a_secret_that_is_on_its_way_is_shown(organiser: Organiser) -> None:
    body = {"url": "https://shop.example/one", "kinds": ["confirmed"]}
    create(organiser.client, "/api/webhooks/", body)
    page = organiser.page
    page.goto("/console/#/webhooks")
    held = hold(page, "**/rotate-secret/")
    page.get_by_role("button", name="Rotate the secret").click()
    with page.expect_request("**/rotate-secret/"):
        page.get_by_role("dialog").get_by_role("button", name="Rotate the secret").click()
    escape(page)
    held[0].continue_()
    secret = page.get_by_role("dialog", name="Secret of the webhook")
    expect(secret).to_be_visible()
    secret.get_by_role("button", name="I have stored it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_refusal_that_is_on_its_way_is_shown(organiser: Organiser, visitors: Visitors) -> None:
    visitors.expect_problem("503 to POST .*/ticket-types/")
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page, dialog = organiser.page, organiser.page.get_by_role("dialog")
    held = hold(page, "**/api/ticket-types/")
    page.get_by_role("button", name="Add a ticket type").click()
    for label, text in (("Name", "Seats"), ("Price", "31.00"), ("Tickets to sell", "4")):
        dialog.get_by_label(label).fill(text)
    with page.expect_request("**/api/ticket-types/"):
        dialog.get_by_role("button", name="Save").click()
    escape(page)
    held[0].fulfill(status=503)
    expect(dialog.get_by_role("alert")).to_contain_text("The server is busy right now.")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_chart_is_of_the_range_that_was_chosen_last(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("503 to GET .*/history/")
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    held = hold(page, "**/live/history/**", times=1)
    ranges = page.get_by_label("Time shown")
    ranges.select_option("600")
    with page.expect_response("**/live/history/**"):
        ranges.select_option("")
    held[0].fulfill(status=503, body="")
    page.wait_for_timeout(500)
    expect(page.locator(".no-past")).to_be_hidden()


def test_a_sale_whose_first_figures_are_stale_is_shown(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("503 to GET .*/history/")
    event, _ = on_sale(organiser.client)
    live = organiser.client.get(f"{EVENTS}{event}/live/").json() | {"stale": True}
    page = organiser.page
    page.route("**/live/history/**", lambda route: route.fulfill(status=503, body=""))
    page.route(
        "**/live/",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event: live\ndata: {json.dumps(live)}\n\n"
        ),
    )
    page.goto(f"/console/#/events/{event}")
    expect(page.locator(".freshness")).to_contain_text("The database does not answer")
    expect(page.get_by_role("button", name="Pause the sale")).to_be_visible()

    page.unroute("**/live/")
    expect(page.locator(".freshness")).to_have_text("Live")
    expect(page.locator("figure svg path")).not_to_have_count(0)
