"""A buyer's page where it could go wrong: two windows, a wrong clock, too few tickets, payment."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import httpx
import pytest
from playwright.sync_api import Page, Request, Route, expect

from gateway.pages.files import asset_hash
from tests.browser.looks import check_looks
from tests.browser.steps import (
    Published,
    client_of,
    end_session,
    opened,
    publish,
    register,
    sign_in,
    ticket_type,
)
from tests.browser.visitors import Visitors
from tests.support.example_shop import running
from tests.system.conftest import Shop
from tests.system.selling import EVENTS, PURCHASES, TICKET_TYPES, WAIT, buy, create

HOURS_SLOW = """() => {
  const now = Date.now;
  Date.now = () => now() - 5 * 3_600_000;
}"""
# As Safari 17.3 and Chrome 115.
MAKE_OLD = """() => {
  delete Promise.withResolvers;
  delete AbortSignal.any;
}"""
# Where the request to buy is put together.
BREAKS_ONCE = """() => {
  const whole = Headers;
  window.Headers = function (fields) {
    if (!fields.Prefer) return new whole(fields);
    window.Headers = whole;
    throw TypeError("a fault of the page");
  };
}"""
BACKGROUND = "element => getComputedStyle(element).backgroundColor"
HOURS_LATER = """() => {
  const now = Date.now;
  Date.now = () => now() + 5 * 3_600_000;
  dispatchEvent(new Event("online"));
}"""
# The button that opened the dialog.
MOVE_BEHIND_KEEP = """() => {
  const [button, keep] = document.querySelectorAll("[data-act=giveBack], [data-act=keep]");
  const { left, top, width } = keep.getBoundingClientRect();
  Object.assign(button.style, { position: "fixed", left: `${left}px`, top: `${top}px`,
    width: `${width}px` });
}"""
SECONDS_UNTIL_IT_OPENS = 5
REWRITTEN = """() => new Promise(resolve => {
  const rewritten = new Set();
  new MutationObserver(changes => changes.forEach(({ target }) => rewritten.add(target.outerHTML)))
    .observe(document.querySelector("#panel"), { childList: true, subtree: true });
  setTimeout(() => resolve([...rewritten]), 2_500);
})"""
# Its exclamation mark ends a line, to the right or to the left.
BEGINS_LEFT = """element => {
  const range = document.createRange();
  const text = element.firstChild;
  range.setStart(text, text.length - 1);
  range.setEnd(text, text.length);
  const mark = range.getBoundingClientRect();
  range.setStart(text, 0);
  const line = range.getBoundingClientRect();
  const isLeft = mark.left > (line.left + line.right) / 2;
  const { left, right } = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  const sizeOf = (name) => parseFloat(style[name]);
  const inset = (side) => sizeOf(`border${side}Width`) + sizeOf(`padding${side}`);
  const gap = isLeft ? line.left - left - inset("Left") : right - line.right - inset("Right");
  return Math.abs(gap) < 2 ? isLeft : `${gap} px away from its side`;
}"""
RULES = """async folder => {
  const rules = await import(`${folder}rules.js`);
  const words = await import(`${folder}words.js`);
  const polling = await import(`${folder}../storefront/polling.js`);
  const places = [2400, 2500, 900, 901, 0].reduce(
    (all, position) => [...all, rules.moved(all.at(-1), position, 0)], []);
  const type = { id: 1, state: "on_sale", max_per_purchase: 10, max_per_user: null, left: 7 };
  const sale = { max_per_user: 6 };
  return {
    totals: [rules.total([["0.10", 3]]), rules.total([["99999999.99", 10], ["0.01", 1]])],
    places: places.map(({ ahead }) => ahead),
    progress: places.map(rules.progress).map((value) => Number(value.toFixed(3))),
    most: [
      rules.most(type, { max_per_user: null }, new Map()),
      rules.most(type, sale, new Map([[1, 3], [2, 4]])),
      rules.most({ ...type, state: "sold_out" }, sale, new Map()),
    ],
    waits: [null, 4, 75, 200, 9000].map((seconds) => words.waitWords(seconds, { movedAt: 0 }, 1)),
    stalled: words.waitWords(4, { movedAt: 0 }, 60_000),
    pauses: [[{}, 0], [{}, 9], [{ retryAfter: 60 }, 3], [{ retryAfter: 60, retryMax: 3 }, 9]].map(
      (failure) => polling.retrySeconds(...failure)),
    pay: rules.paymentAddress("https://shop.example/pay?x=1#y", "a&b"),
  };
}"""


def heading(page: Page, name: str) -> None:
    """It is shown, and a screen reader has been led to it."""
    expect(page.get_by_role("heading", name=name)).to_be_focused()


def opened_and_signed_in(page: Page, sale: Published) -> str:
    """The name of its user, who is new."""
    opened(page, sale)
    page.get_by_role("button", name="Sign in").first.click()
    return register(page)


def make_old(page: Page) -> None:
    """A browser of 2023, without what came after it."""

    def make_style_old(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace("light-dark", "unknown"))

    page.add_init_script(f"({MAKE_OLD})()")
    page.route("**/*.css", make_style_old)


def step(page: Page, *buttons: str) -> None:
    for name in buttons:
        page.get_by_role("button", name=name).click()


def trouble(page: Page, says: str = "The server cannot be") -> None:
    shown = page.get_by_role("paragraph").filter(has_text=re.compile(f"^{says}"))
    expect(shown).to_be_visible()


def tap(page: Page, button: str, times: int) -> None:
    """At one point, whatever appears there meanwhile."""
    box = page.get_by_role("button", name=button).bounding_box()
    assert box is not None
    for _ in range(times):
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(150)


def keys_posted(page: Page) -> list[str]:
    """Of the requests to buy that it sends from now on."""
    keys = list[str]()

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith(PURCHASES):
            keys.append(request.headers["idempotency-key"])

    page.on("request", note)
    return keys


def test_what_is_shown_follows_from_rules(visitors: Visitors) -> None:
    page = visitors.visitor(locale="en-GB")
    page.goto("/")
    assert page.evaluate(RULES, f"/assets/{asset_hash()}/event/") == {
        "totals": ["0.30", "999999999.91"],
        "places": [2400, 2400, 900, 900, 0],
        "progress": [0, 0, 0.625, 0.625, 1],
        "most": [7, 2, 0],
        "waits": [
            "We cannot say yet how long it takes.",
            "It takes a few seconds.",
            "It takes about a minute.",
            "It takes about 3 minutes.",
            "It takes more than an hour.",
        ],
        "stalled": "The queue is not moving right now. We cannot say yet how long it takes.",
        "pauses": [1, 30, 60, 3],
        "pay": "https://shop.example/pay?x=1&purchase=a%26b#y",
    }


def test_an_answer_that_is_not_of_the_api_is_no_answer(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("403 to POST")
    sale = publish(organiser, {"capacity": 9})
    page = visitors.visitor()
    page.route(f"**/api/sales/{sale.event}/", lambda route: route.fulfill(body="<html>"), times=1)
    opened_and_signed_in(page, sale)
    statuses, keys = iter([403, 200]), keys_posted(page)

    def refuse(route: Route) -> None:
        route.fulfill(status=next(statuses), content_type="text/html", body="<html>")

    page.route(f"**{PURCHASES}", refuse, times=2)
    page.get_by_role("button", name="Buy 1 ticket").click()
    heading(page, "You have your tickets")
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("is_dismissed", [False, True])
def test_who_signs_in_again_goes_on_with_the_same_press(
    visitors: Visitors, shop: Shop, organiser: httpx.Client, is_dismissed: bool
) -> None:
    visitors.expect_problem("401 to POST")
    sale = publish(organiser, {})
    page = visitors.visitor()
    username = opened_and_signed_in(page, sale)
    keys = keys_posted(page)
    end_session(page, shop, f"**{PURCHASES}")
    page.get_by_role("button", name="Buy 1 ticket").click()
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog.get_by_text("Sign in to go on.")).to_be_visible()
    if is_dismissed:
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Buy 1 ticket").click()
    sign_in(page, username)
    heading(page, "You have your tickets")
    assert len(set(keys)) == 1


def test_a_press_that_was_refused_is_asked_about_before_another_is_sent(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("401 to POST")
    sale = publish(organiser, {}, {"name": "Child"})
    page = visitors.visitor()
    username = opened_and_signed_in(page, sale)
    step(page, "One more: Standing", "One more: Standing")
    end_session(page, shop, f"**{PURCHASES}")
    page.get_by_role("button", name="Buy 2 tickets").click()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.keyboard.press("Escape")
    step(page, "One less: Standing", "One less: Standing", "One more: Child")
    page.get_by_role("button", name="Buy 1 ticket").click()
    sign_in(page, username)
    heading(page, "Do you still want these tickets?")
    expect(page.get_by_text("2 × Standing")).to_be_visible()
    page.reload()
    expect(page.get_by_text("2 × Standing")).to_be_visible()
    page.get_by_role("button", name="No", exact=True).click()
    step(page, "One more: Child")
    page.get_by_role("button", name="Buy 1 ticket").click()
    heading(page, "You have your tickets")
    (bought,) = client_of(shop, username).get(PURCHASES).json()["results"]
    assert [line["ticket_type"] for line in bought["items"]] == sale.ticket_types[1:]


def test_a_press_of_unknown_outcome_is_asked_about_before_another_is_sent(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("ERR_CONNECTION_RESET|401 to POST")
    sale = publish(organiser, {}, {"name": "Child"})
    page = visitors.visitor()
    username = opened_and_signed_in(page, sale)
    step(page, "One more: Standing")
    page.route(f"**{PURCHASES}", lambda route: route.abort("connectionreset"))
    page.get_by_role("button", name="Buy 1 ticket").click()
    trouble(page)
    end_session(page, shop)
    page.reload()
    page.unroute_all()
    step(page, "One more: Child", "One more: Child")
    page.get_by_role("button", name="Buy 2 tickets").click()
    sign_in(page, username)
    heading(page, "Do you still want these tickets?")
    page.get_by_role("button", name="Yes, buy them").click()
    heading(page, "You have your tickets")
    (bought,) = client_of(shop, username).get(PURCHASES).json()["results"]
    assert [line["ticket_type"] for line in bought["items"]] == sale.ticket_types[:1]


def test_a_telephone_that_slept_asks_before_it_sends_again(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("ERR_CONNECTION_RESET")
    page = visitors.visitor(width=360)
    opened_and_signed_in(page, publish(organiser, {}))
    page.route(f"**{PURCHASES}", lambda route: route.abort("connectionreset"))
    page.get_by_role("button", name="Buy 1 ticket").click()
    trouble(page)
    page.evaluate(HOURS_LATER)
    heading(page, "Do you still want these tickets?")
    expect(page.get_by_text("1 × Standing")).to_be_visible()
    check_looks(page)
    page.unroute_all()
    page.get_by_role("button", name="Yes, buy them").click()
    heading(page, "You have your tickets")


def test_what_arrived_is_shown_to_who_no_longer_wants_it(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("ERR_CONNECTION_RESET")
    page = visitors.visitor()
    username = opened_and_signed_in(page, publish(organiser, {"hold_seconds": 3600}))

    def lose_the_response(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route(f"**{PURCHASES}", lose_the_response)
    page.get_by_role("button", name="Buy 1 ticket").click()
    trouble(page)
    page.evaluate(HOURS_LATER)
    heading(page, "Do you still want these tickets?")
    page.unroute_all()
    page.get_by_role("button", name="No", exact=True).click()
    heading(page, "Your tickets are reserved")
    expect(page.get_by_role("button", name="Give back")).to_be_visible()
    (held,) = client_of(shop, username).get(PURCHASES).json()["results"]
    assert held["status"] == "held"


def test_what_is_held_for_a_customer_is_not_taken_for_the_organisers_own(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    page = visitors.visitor()
    owner = client_of(shop, opened_and_signed_in(page, publish(organiser, {})))
    sale = publish(owner, {"hold_seconds": 3600})
    key = owner.post("/api/keys/", json={"name": "Shop", "scopes": ["purchase"]}).json()["key"]
    wanted = {"ticket_type": sale.ticket_types[0], "quantity": 1, "buyer": "customer-1"}
    assert shop.client(key).post(PURCHASES, json=wanted, headers=WAIT).json()["status"] == "held"
    with page.expect_response(f"**{PURCHASES}?*"):
        opened(page, sale)
    page.wait_for_timeout(500)
    expect(page.get_by_role("button", name="Buy 1 ticket")).to_be_visible()


def test_two_windows_and_reloads_are_one_purchase(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    sale = publish(organiser, {"capacity": 9})
    first = opened(visitors.visitor(width=360), sale)
    first.get_by_role("button", name="Sign in").first.click()
    register(first)
    second = opened(first.context.new_page(), sale)
    expect(second.get_by_role("button", name="Sign out")).to_be_visible()
    with shop.decisions_suspended():
        for other in shop.users(2):
            buy(other, sale.ticket_types[0])
        first.get_by_role("button", name="Buy 1 ticket").click()
        for page in (first, second):
            expect(page.get_by_text("2 ahead of you")).to_be_visible()
            expect(page).to_have_title("2 ahead of you · Concert")
        first.reload()
        expect(first.get_by_text("2 ahead of you")).to_be_visible()
    for page in (first, second):
        expect(page.get_by_role("heading", name="You have your tickets")).to_be_visible()
    second.get_by_role("button", name="Done").click()
    for page in (first, second):
        expect(page.get_by_role("button", name="Buy", exact=True)).to_be_visible()
        expect(page.get_by_role("region", name="My tickets")).to_contain_text("1 × Standing")
        expect(ticket_type(page, "Standing")).to_contain_text("6 left")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_hasty_taps_buy_once_and_leave_the_outcome(
    visitors: Visitors, shop: Shop, organiser: httpx.Client, motion: str
) -> None:
    sale = publish(organiser, {}, {"name": "Child"})
    options = {"width": 360, "height": 740, "has_touch": True, "is_mobile": True}
    page = visitors.visitor(**options, reduced_motion=motion)
    client = client_of(shop, opened_and_signed_in(page, sale))
    step(page, "One more: Standing")
    tap(page, "Buy 1 ticket", times=3)
    bought = page.get_by_role("heading", name="You have your tickets")
    expect(bought).to_be_visible()
    page.wait_for_timeout(700)
    assert len(client.get(PURCHASES).json()["results"]) == 1
    expect(bought).to_be_visible()
    tap(page, "Done", times=2)
    expect(page.get_by_role("region", name="My tickets")).to_contain_text("1 × Standing")
    expect(page.get_by_role("button", name="Buy", exact=True)).to_be_disabled()
    assert len(client.get(PURCHASES).json()["results"]) == 1


def test_a_hasty_tap_does_not_pass_a_dialog_that_closes(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    sale = publish(organiser, {"hold_seconds": 600})
    page = visitors.visitor(width=360, height=740, has_touch=True, is_mobile=True)
    opened_and_signed_in(page, sale)
    page.get_by_role("button", name="Buy 1 ticket").click()
    page.get_by_role("button", name="Give back").click()
    page.evaluate(MOVE_BEHIND_KEEP)
    page.wait_for_timeout(700)
    tap(page, "Keep them", times=2)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Give back").click()
    page.wait_for_timeout(700)
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_full_gateway_is_not_asked_without_a_pause(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to GET")
    sale = publish(organiser, {"capacity": 9})
    page = opened(visitors.visitor(), sale)
    page.get_by_role("button", name="Sign in").first.click()
    register(page)
    refused = list[str]()

    def refuse(route: Route) -> None:
        if "text/event-stream" not in route.request.headers["accept"]:
            route.fulfill(response=route.fetch(url=route.request.url.split("?")[0]))
            return
        refused.append(route.request.url)
        problem = '{"code": "unavailable"}'
        headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}
        route.fulfill(status=503, headers=headers, body=problem)

    with shop.decisions_suspended():
        page.route(f"**{PURCHASES}*/**", refuse)
        page.get_by_role("button", name="Buy 1 ticket").click()
        expect(page.get_by_text("You are next")).to_be_visible()
        page.wait_for_timeout(12_000)
        assert 2 < len(refused) < 6
    heading(page, "You have your tickets")


def test_a_fault_of_the_page_is_said_and_loses_no_press(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("uncaught: .*a fault of the page")
    page = visitors.visitor()
    opened_and_signed_in(page, publish(organiser, {}))
    page.evaluate(BREAKS_ONCE)
    page.get_by_role("button", name="Buy 1 ticket").click()
    expect(page.get_by_text("Something went wrong on our side.")).to_be_visible()
    page.reload()
    heading(page, "You have your tickets")


def test_a_sign_in_is_renewed_when_the_server_asks_for_it_and_in_time(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to POST .*/session/refresh/")
    page = visitors.visitor()
    opened_and_signed_in(page, publish(organiser, {}))
    tried = list[float]()

    def refuse(route: Route) -> None:
        tried.append(monotonic())
        route.fulfill(status=503, headers={"Retry-After": "60"})

    page.route("**/session/refresh/", refuse, times=2)
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert 2.9 < tried[1] - tried[0] < 6


def test_who_may_be_signed_in_is_offered_neither_to_sign_in_nor_to_buy(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to POST .*/session/refresh/")
    page = visitors.visitor(width=360)
    opened_and_signed_in(page, publish(organiser, {"hold_seconds": 600}))
    page.get_by_role("button", name="Buy 1 ticket").click()
    heading(page, "Your tickets are reserved")
    page.route("**/session/refresh/", lambda route: route.fulfill(status=503))
    page.reload()
    trouble(page, "The server is busy")
    expect(page.get_by_role("heading", name="Looking up your purchase")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Sign|Buy"))).to_have_count(0)
    page.unroute("**/session/refresh/")
    heading(page, "Your tickets are reserved")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_who_is_no_longer_signed_in_may_choose_where_they_are(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("401 to POST .*/session/refresh/")
    page = visitors.visitor(width=360)
    opened_and_signed_in(page, publish(organiser, {}))
    end_session(page, shop)
    page.reload()
    expect(page.get_by_role("button", name="Buy 1 ticket")).to_be_enabled()
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()
    expect(page.locator("body")).to_be_focused()


def test_the_button_wakes_by_the_servers_clock(visitors: Visitors, organiser: httpx.Client) -> None:
    page = visitors.visitor()
    page.add_init_script(f"({HOURS_SLOW})()")
    opens = datetime.now(UTC) + timedelta(seconds=SECONDS_UNTIL_IT_OPENS)
    opened(page, publish(organiser, {"sales_start": opens.isoformat()}))
    button = page.get_by_role("button", name="Buy 1 ticket")
    expect(button).to_be_disabled()
    page.get_by_role("button", name="Sign in").first.click()
    register(page)
    expect(button).to_be_enabled()
    assert datetime.now(UTC) > opens
    button.click()
    heading(page, "You have your tickets")


def test_who_was_too_late_is_offered_what_is_left(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    sale = publish(organiser, {"capacity": 3}, {"name": "Child", "price": "0.10"})
    page = visitors.visitor()
    make_old(page)
    opened(page, sale)
    page.get_by_role("button", name="Sign in").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    field = dialog.get_by_role("textbox").first
    assert field.evaluate("it => getComputedStyle(it).borderStyle") == "solid"
    assert dialog.locator("[type=submit]").evaluate(BACKGROUND) != "rgba(0, 0, 0, 0)"
    register(page)
    for name in ("Standing", "Standing", "Child"):
        page.get_by_role("button", name=f"One more: {name}").click()
    with shop.decisions_suspended():
        buy(shop.user(), sale.ticket_types[0], 2)
        page.get_by_role("button", name="Buy 3 tickets").click()
        expect(page.get_by_text("1 ahead of you")).to_be_visible()
    heading(page, "There are not enough tickets left.")
    expect(page.get_by_text("Standing: you wanted 2, 1 left.")).to_be_visible()
    page.get_by_role("button", name="Choose the 2 left").click()
    expect(page.get_by_text("€25.10")).to_be_visible()
    page.get_by_role("button", name="Buy 2 tickets").click()
    heading(page, "You have your tickets")


def test_what_is_held_is_found_on_another_device_and_paid_at_the_shop(
    visitors: Visitors, shop: Shop, organiser: httpx.Client, tmp_path: Path
) -> None:
    scopes = {"name": "Shop", "scopes": ["read", "purchase", "payments"]}
    with (
        running("provider.py", "0", "ok") as provider,
        running(
            "checkout.py",
            "0",
            SHOP_KEY=create(organiser, "/api/keys/", scopes)["key"],
            SHOP_EVENTIFY_URL=shop.url,
            SHOP_PROVIDER_URL=provider,
            SHOP_DATABASE=str(tmp_path / "shop.sqlite3"),
        ) as checkout,
    ):
        visitors.expect_problem("404 to GET .*/favicon.ico")  # of the shop
        sale = publish(organiser, {"hold_seconds": 600}, payment_url=checkout)
        telephone, desk = (opened(visitors.visitor(width=each), sale) for each in (360, 1280))
        telephone.get_by_role("button", name="Buy 1 ticket").click()
        username = register(telephone)
        heading(telephone, "Your tickets are reserved")
        desk.get_by_role("button", name="Sign in").first.click()
        sign_in(desk, username)
        heading(desk, "Your tickets are reserved")

        telephone.get_by_role("link", name="Pay now").click()
        telephone.get_by_role("button", name="Pay 25.00 EUR").click()
        for page in (telephone, desk):
            expect(page.get_by_role("heading", name="You have your tickets")).to_be_visible()
        expect(telephone).to_have_url(f"{shop.url}{sale.page}")


def test_the_address_to_pay_at_is_the_current_one(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    sale = publish(organiser, {"hold_seconds": 600})
    page = opened(visitors.visitor(), sale)
    page.get_by_role("button", name="Buy 1 ticket").click()
    register(page)
    heading(page, "Your tickets are reserved")
    path, pay = f"/api/events/{sale.event}/", page.get_by_role("link", name="Pay now")
    elsewhere = page.get_by_text("Pay as the organiser tells you")
    expect(elsewhere).to_be_visible()
    expect(pay).to_be_hidden()
    for shop in ("first", "second"):
        organiser.patch(path, json={"payment_url": f"https://{shop}.example/pay"})
        expect(pay).to_have_attribute("href", re.compile(f"https://{shop}.example/pay.purchase=."))
    expect(pay).to_be_visible()
    expect(elsewhere).to_be_hidden()


def test_what_is_held_is_found_as_soon_as_it_can_be_read(
    visitors: Visitors, shop: Shop, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to GET")
    sale = publish(organiser, {"hold_seconds": 600}, {"name": "Child"})
    page = opened(visitors.visitor(), sale)
    page.get_by_role("button", name="Sign in").first.click()
    client = client_of(shop, register(page))
    mine = page.get_by_role("region", name="My tickets")
    reserved = page.get_by_role("heading", name="Your tickets are reserved")
    for ticket_type_id, found in zip(sale.ticket_types[::-1], (mine, reserved), strict=True):
        buy(client, ticket_type_id, **WAIT)
        page.route(f"**{PURCHASES}?*", lambda route: route.fulfill(status=503))
        with page.expect_response(lambda response: response.status == 503):
            page.reload()
        page.unroute(f"**{PURCHASES}?*")
        expect(found).to_be_visible()


def test_what_does_not_change_is_not_written_again(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    page = opened(visitors.visitor(), publish(organiser, {}))
    assert page.evaluate(REWRITTEN) == []


def test_a_dialog_that_cannot_be_loaded_is_there_after_a_reload(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("core/sign-in.js|ERR_INTERNET_DISCONNECTED")
    page = visitors.visitor()
    failing = [True]
    page.route("**/core/sign-in.js", lambda route: route.abort() if failing else route.continue_())
    opened(page, publish(organiser, {}))
    page.context.set_offline(True)
    page.get_by_role("button", name="Buy 1 ticket").click()
    page.wait_for_timeout(500)
    expect(ticket_type(page, "Standing")).to_be_visible()
    page.context.set_offline(False)
    page.once("framenavigated", lambda _: failing.clear())
    with page.expect_event("load"):
        page.get_by_role("button", name="Buy 1 ticket").click()
    page.get_by_role("button", name="Buy 1 ticket").click()
    register(page)
    heading(page, "You have your tickets")


def test_a_refusal_to_give_back_is_gone_when_it_is_asked_again(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to POST .*/release/")
    sale = publish(organiser, {"hold_seconds": 600})
    page = visitors.visitor()
    opened_and_signed_in(page, sale)
    page.get_by_role("button", name="Buy 1 ticket").click()
    heading(page, "Your tickets are reserved")
    page.route("**/release/", lambda route: route.fulfill(status=503))
    give_back, dialog = page.get_by_role("button", name="Give back"), page.get_by_role("dialog")
    give_back.click()
    dialog.get_by_role("button", name="Give them back").click()
    heading(page, "Your tickets are reserved")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server is busy right now.")
    expect(alert).to_be_in_viewport()
    give_back.click()
    expect(dialog.get_by_role("button", name="Keep them")).to_be_visible()
    expect(alert).to_be_hidden()


def test_what_is_being_given_back_is_not_shown_as_reserved(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    sale = publish(organiser, {"hold_seconds": 600})
    page = visitors.visitor(width=360, height=740)
    opened_and_signed_in(page, sale)
    page.get_by_role("button", name="Buy 1 ticket").click()
    slow = list[Route]()

    def hold(route: Route) -> None:
        slow.append(route)

    page.route("**/release/", hold)
    step(page, "Give back", "Give them back")
    heading(page, "Giving your tickets back …")
    page.keyboard.press("Escape")
    check_looks(page)
    expect(page.get_by_role("button", name=re.compile("Give|Keep"))).to_have_count(0)
    slow[0].continue_()
    heading(page, "You gave these tickets back")


def test_a_refusal_is_gone_when_the_sale_goes_on(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("400 to POST")
    sale = publish(organiser, {})
    (ticket_type_id,) = sale.ticket_types
    page = visitors.visitor(width=360)
    opened_and_signed_in(page, sale)

    def pause(route: Route) -> None:
        assert organiser.post(f"{TICKET_TYPES}{ticket_type_id}/pause/").is_success
        route.continue_()

    page.route(f"**{PURCHASES}", pause, times=1)
    buying = page.get_by_role("button", name="Buy 1 ticket")
    buying.click()
    refusal = page.get_by_text("The sale is paused. Try again in")
    expect(refusal).to_be_focused()
    expect(buying).to_be_disabled()
    expect(refusal).to_be_visible()
    assert organiser.post(f"{TICKET_TYPES}{ticket_type_id}/resume/").is_success
    expect(buying).to_be_enabled()
    expect(refusal).to_be_hidden()
    expect(page.locator("h2").first).not_to_be_focused()


def test_a_sign_out_that_fails_is_said(visitors: Visitors, organiser: httpx.Client) -> None:
    visitors.expect_problem("503 to DELETE .*/session/")
    page = visitors.visitor()
    opened_and_signed_in(page, publish(organiser, {}))
    page.route("**/session/", lambda route: route.fulfill(status=503), times=1)
    sign_out, alert = page.get_by_role("button", name="Sign out"), page.get_by_role("alert")
    sign_out.click()
    expect(alert).to_contain_text("The server is busy right now.")
    expect(sign_out).to_be_visible()
    sign_out.click()
    expect(sign_out).to_be_hidden()
    expect(alert).to_be_hidden()


@pytest.mark.parametrize("is_event", [True, False])
def test_a_page_whose_script_is_lost_offers_to_load_it_again(
    visitors: Visitors, organiser: httpx.Client, is_event: bool
) -> None:
    visitors.expect_problem("net::ERR_CONNECTION_RESET")
    sale = publish(organiser, {})
    path, page = (
        sale.page if is_event else "/",
        visitors.visitor(width=360, reduced_motion="reduce"),
    )
    page.route("**/storefront/polling.js", lambda route: route.abort("connectionreset"))
    page.goto(path)
    again = page.get_by_role("link", name="Load it again")
    page.wait_for_timeout(1_000)
    expect(again).to_be_hidden()
    expect(again).to_be_visible()
    check_looks(page)
    page.unroute_all()
    again.click()
    expect(page.get_by_role("heading", name="Concert").first).to_be_visible()
    expect(again).to_have_count(0)


def test_an_open_page_says_that_its_figures_may_be_old(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("503 to GET")
    sale = publish(organiser, {})
    page = opened(visitors.visitor(), sale)
    stale = page.get_by_text("These figures may be a minute old.")
    path, asked = f"**/api/sales/{sale.event}/", list[bool]()

    def refuse(route: Route) -> None:
        asked.append(stale.is_visible())
        route.fulfill(status=503)

    page.route(path, refuse)
    expect(stale).to_be_visible()
    page.unroute(path)
    expect(stale).to_be_hidden()
    assert asked[:2] == [False, False]  # one that fails is no news


@pytest.mark.parametrize(("title", "is_leftmost"), [("Concert!", True), ("קונצרט!", False)])
def test_a_text_begins_at_the_side_of_its_language(
    visitors: Visitors, organiser: httpx.Client, title: str, is_leftmost: bool
) -> None:
    sale = publish(organiser, {"name": title}, title=title, description=title)
    assert organiser.put(f"{EVENTS}{sale.event}/notice/", json={"text": title}).is_success
    page = opened(visitors.visitor(), sale, title)
    for place in ("h1", "[data-part=notice]", "[data-part=description]", "#types h3"):
        assert page.locator(place).evaluate(BEGINS_LEFT) is is_leftmost, place
    countdown = page.locator("[data-part=countdown]")
    assert countdown.evaluate("element => getComputedStyle(element).textAlign") == "center"
