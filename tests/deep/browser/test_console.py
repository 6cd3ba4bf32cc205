"""The organiser's page, in a real browser: what it shows of a sale, and what it does about it."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.steps import end_session, register, sign_in
from tests.browser.visitors import Visitors
from tests.system.conftest import Shop
from tests.system.selling import WAIT, buy, create, event_fields, ticket_type_fields

PASSWORD = "velvet-tram-42"
_numbers = count(1)


class Organiser(NamedTuple):
    """Somebody in the console, who also uses the API."""

    page: Page
    client: httpx.Client
    username: str

    def open_event(self, event: int) -> None:
        self.page.goto(f"/console/#/events/{event}")
        expect(self.page.locator(".freshness")).to_have_text("Live")


@pytest.fixture
def organiser(shop: Shop, visitors: Visitors) -> Organiser:
    user = {"username": f"organiser-{next(_numbers)}", "password": PASSWORD}
    create(shop.client(), "/api/users/", user)
    token = shop.client().post("/api/token/", json=user).json()["access"]
    page = visitors.visitor(width=1440, height=1000)
    page.goto("/console/")
    page.get_by_label("Username").fill(user["username"])
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="My events")).to_be_focused()
    return Organiser(page, shop.client(token), user["username"])


def on_sale(client: httpx.Client, **fields: Any) -> tuple[int, int]:
    """An event and its ticket type."""
    event = create(client, "/api/events/", event_fields())["id"]
    body = ticket_type_fields(event, name="Standing", capacity=10) | fields
    return event, create(client, "/api/ticket-types/", body)["id"]


def figure(page: Page, name: str) -> Locator:
    return page.locator(f".figures [data-figure={name}]")


@contextmanager
def gateways_suspended(shop: Shop) -> Iterator[None]:
    with ExitStack() as resuming:
        for process in shop.operator.status()["processes"]:
            if process["name"].startswith("gateway"):
                gateway = psutil.Process(process["pid"])
                gateway.suspend()
                resuming.callback(gateway.resume)
        yield


def test_an_event_is_created_once_published_and_watched(
    organiser: Organiser, shop: Shop, visitors: Visitors
) -> None:
    visitors.expect_problem("400 to POST .*/api/events/")
    page = organiser.page
    page.get_by_role("link", name="New event").click()
    page.get_by_label("Title").fill("Open-air concert")
    page.get_by_label("Starts").fill("2037-06-05T20:00")
    page.get_by_label("Ends").fill("2037-06-05T19:00")
    page.get_by_label("Currency").fill("usd")
    page.get_by_role("button", name="Create the event").click()
    ends = page.get_by_label("Ends")
    expect(ends).to_be_focused()
    expect(ends).to_have_accessible_description("Must be after Starts.")
    ends.fill("2037-06-05T23:00")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.method))
    submit = page.get_by_role("button", name="Create the event")
    submit.evaluate("button => { button.click(); button.click(); }")

    expect(page.get_by_role("heading", name="Open-air concert")).to_be_visible()
    assert requests.count("POST") == 1
    (event,) = organiser.client.get("/api/events/?owner=me").json()["results"]
    assert event["currency"] == "USD"
    page.get_by_role("button", name="Add a ticket type").click()
    form = page.get_by_role("dialog", name="New ticket type")
    form.get_by_label("Name").fill("Standing")
    form.get_by_label("Price").fill("45,00")
    form.get_by_label("Tickets to sell").fill("10")
    form.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name="Standing")
    expect(row).to_contain_text("On sale")
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("dialog").get_by_role("button", name="Publish").click()
    expect(page.get_by_role("link", name=f"/events/{event['id']}/")).to_be_visible()
    assert shop.client().get(f"/api/sales/{event['id']}/").status_code == 200

    types = organiser.client.get(f"/api/ticket-types/?event={event['id']}").json()["results"]
    buy(shop.user(), types[0]["id"], quantity=3)
    expect(figure(page, "confirmed")).to_have_text("3")
    expect(figure(page, "left")).to_have_text("7")
    page.reload()
    expect(figure(page, "confirmed")).to_have_text("3")
    moments = page.get_by_role("slider")
    moments.press("Home")  # before this window was loaded
    expect(moments).to_have_attribute("aria-valuetext", re.compile("Confirmed 0, .*Left 10,"))


def test_a_sale_is_paused_and_its_capacity_changed(
    organiser: Organiser, shop: Shop, visitors: Visitors
) -> None:
    visitors.expect_problem("400 to POST .*/capacity/")
    event, ticket_type = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    row = page.get_by_role("row", name="Standing")
    row.get_by_role("button", name="Pause").click()
    question = page.get_by_role("dialog", name="Pause “Standing”?")
    expect(question).to_contain_text("Purchases accepted before are still decided")
    question.get_by_role("button", name="Pause the sale").click()
    expect(page.get_by_role("status").filter(has_text="paused")).to_be_visible()
    expect(row).to_contain_text("Paused")
    expect(row.get_by_role("button", name="Resume")).to_be_focused()
    refused = shop.user().post(
        "/api/ticket-purchases/", json={"ticket_type": ticket_type, "quantity": 1}
    )
    assert refused.json()["code"] == "sale_paused"

    row.get_by_role("button", name="Capacity").click()
    change = page.get_by_label("Change")
    change.fill("-11")
    change.press("Enter")
    expect(change).to_have_accessible_description("Cannot withdraw 11 tickets: 10 are left.")
    change.fill("-4")
    change.press("Enter")
    expect(figure(page, "left")).to_have_text("6")
    page.get_by_role("button", name="Resume the sale").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume the sale").click()
    expect(row).to_contain_text("On sale")


def test_figures_that_are_not_current_do_not_look_live(
    organiser: Organiser, shop: Shop, visitors: Visitors
) -> None:
    visitors.expect_problem("")  # of the connection
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    with gateways_suspended(shop):
        expect(page.locator(".freshness")).to_contain_text(re.compile(r"as of \d+ s ago"))
        expect(figure(page, "left")).to_have_css("filter", "grayscale(1)")
        expect(page.get_by_role("status").filter(has_text="no longer current")).to_be_visible()
    expect(page.locator(".freshness")).to_have_text("Live")
    expect(figure(page, "left")).to_have_css("filter", "none")


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("412 to PATCH")
    event, _ = on_sale(organiser.client)
    page, path = organiser.page, f"/api/events/{event}/"
    page.goto(f"/console/#/events/{event}/edit")
    expect(page.get_by_label("Title")).not_to_be_empty()
    organiser.client.patch(path, json={"description": "Doors open at six."})
    page.get_by_label("Title").fill("Second night")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="Somebody else")).to_contain_text(
        "Description: Doors open at six."
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Second night")).to_be_visible()
    saved = organiser.client.get(path).json()
    assert (saved["title"], saved["description"]) == ("Second night", "Doors open at six.")


def test_a_newer_notice_is_not_overwritten(organiser: Organiser, visitors: Visitors) -> None:
    visitors.expect_problem("412 to PUT")
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page, notice = organiser.page, f"/api/events/{event}/notice/"
    organiser.client.put(notice, json={"text": "Doors open at six."})
    page.get_by_role("button", name="Write a notice").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Text")).to_have_value("Doors open at six.")
    organiser.client.put(notice, json={"text": "Doors open at seven."})
    dialog.get_by_label("Text").fill("Bring an umbrella.")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed this meanwhile.")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # What was changed meanwhile is no obstacle to something else.
    page.get_by_role("button", name="Publish").click()
    dialog.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("button", name="Unpublish")).to_be_visible()
    saved = organiser.client.get(f"/api/events/{event}/").json()
    assert (saved["notice"], saved["published"]) == ("Doors open at seven.", True)


def test_the_verdict_of_an_audit_is_a_sentence(organiser: Organiser, shop: Shop) -> None:
    event, ticket_type = on_sale(organiser.client)
    buy(shop.user(), ticket_type, quantity=3, **WAIT)
    organiser.open_event(event)
    page = organiser.page
    page.get_by_role("button", name="Run the audit").click()
    expect(page.locator(".verdict")).to_contain_text("3 sold + 0 held + 7 left = 10 issued")
    expect(page.locator(".audited")).to_contain_text("2 entries")
    expect(page.get_by_role("button", name="Run the audit")).to_be_enabled()


def test_the_ledger_is_exported_as_a_file(organiser: Organiser) -> None:
    event, _ = on_sale(organiser.client)
    organiser.open_event(event)
    page = organiser.page
    page.evaluate("() => { window.showSaveFilePicker = undefined; }")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="CSV").click()
    assert "issued" in downloading.value.path().read_text()
    expect(page.get_by_role("status").filter(has_text="Exported")).to_be_visible()


def test_a_part_that_cannot_be_loaded_is_there_after_a_reload(
    organiser: Organiser, visitors: Visitors
) -> None:
    visitors.expect_problem("console/(actions|keys).js")
    event, _ = on_sale(organiser.client)
    page = organiser.page
    page.route(re.compile("console/(actions|keys).js"), lambda route: route.abort())
    organiser.open_event(event)
    page.get_by_role("button", name="Write a notice").click()
    expect(page.get_by_role("status").filter(has_text="Reload the page")).to_be_visible()
    page.goto("/console/#/keys")
    reload = page.get_by_role("button", name="Reload")
    expect(reload).to_be_visible()
    page.unroute_all()
    reload.click()
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()


def test_what_was_filled_in_outlives_the_session_for_its_user_alone(
    organiser: Organiser, shop: Shop, visitors: Visitors
) -> None:
    visitors.expect_problem("401 to POST")
    page = organiser.page
    title, submit = page.get_by_label("Title"), page.get_by_role("button", name="Create the event")
    signing_in = page.get_by_role("dialog", name="Sign in")

    def fill_in() -> None:
        page.goto("/console/#/events/new")
        title.fill("Second night")
        page.get_by_label("Starts").fill("2037-06-05T20:00")
        page.get_by_label("Ends").fill("2037-06-05T23:00")

    fill_in()
    end_session(page, shop, "**/api/events/")
    submit.click()
    expect(signing_in.get_by_text("What you filled in is kept.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(signing_in).to_be_hidden()
    submit.click()
    sign_in(page, organiser.username)
    expect(title).to_have_value("Second night")
    submit.click()
    expect(page.get_by_role("heading", name="Second night")).to_be_visible()

    fill_in()
    end_session(page, shop, "**/api/events/")
    submit.click()
    register(page)
    expect(title).to_have_value("")
    title.fill("Third night")
    page.get_by_role("button", name="Sign out").click()
    expect(signing_in).to_be_visible()
    expect(title).to_have_count(0)
