"""The states that the story does not pass: narrow and wide, light and dark."""

import re

import httpx
from playwright.sync_api import expect

from tests.browser.looks import check_looks
from tests.browser.steps import (
    client_of,
    confirm,
    figure,
    opened,
    publish,
    register,
)
from tests.browser.visitors import Visitors
from tests.system.conftest import Shop
from tests.system.selling import buy

LATER = "2037-01-01T20:00:00Z"


def test_before_a_sale_opens_and_in_the_dialog_to_sign_in(
    visitors: Visitors, organiser: httpx.Client
) -> None:
    visitors.expect_problem("404 to GET .*/api/sales/999999/|400 to POST .*/api/users/")
    page = visitors.visitor()
    page.goto("/events/999999/")
    expect(page.get_by_role("heading", name="There is no such event")).to_be_visible()
    check_looks(page)

    opened(page, publish(organiser, {"sales_start": LATER}, description="Doors at six." * 20))
    expect(page.get_by_role("timer")).to_be_visible()
    check_looks(page)
    page.get_by_role("button", name="Sign in").first.click()
    page.get_by_role("button", name="I have no account yet").click()
    page.get_by_label("Username").press("Enter")
    expect(page.get_by_label("Username")).to_have_attribute("aria-invalid", "true")
    check_looks(page)


def test_in_the_queue_and_rejected(visitors: Visitors, shop: Shop, organiser: httpx.Client) -> None:
    sale = publish(organiser, {"capacity": 1})
    page = opened(visitors.visitor(), sale)
    page.get_by_role("button", name="Sign in").first.click()
    register(page)
    with shop.decisions_suspended():
        buy(shop.user(), sale.ticket_types[0])
        page.get_by_role("button", name="Buy 1 ticket").click()
        expect(page.get_by_text("1 ahead of you", exact=True)).to_be_visible()
        check_looks(page)
    expect(page.get_by_role("button", name="Back to the tickets")).to_be_visible()
    check_looks(page)
    page.get_by_role("button", name="Back to the tickets").click()
    expect(page.get_by_text("All tickets are sold")).to_be_visible()
    check_looks(page)


def test_reserved_and_given_back(visitors: Visitors, organiser: httpx.Client) -> None:
    shop_page = "https://shop.example/pay"
    sale = publish(organiser, {"hold_seconds": 600}, payment_url=shop_page)
    page = opened(visitors.visitor(), sale)
    page.get_by_role("button", name="Buy 1 ticket").click()
    register(page)
    pay = page.get_by_role("link", name="Pay now")
    expect(pay).to_have_attribute("href", re.compile(f"^{shop_page}"))
    check_looks(page)
    page.get_by_role("button", name="Give back").click()
    check_looks(page)
    confirm(page, "Give them back")
    expect(page.get_by_role("heading", name="You gave these tickets back")).to_be_visible()
    check_looks(page)


def test_what_an_organiser_opens(visitors: Visitors, shop: Shop) -> None:
    page = visitors.visitor()
    page.goto("/console/")
    client = client_of(shop, register(page))
    sale = publish(client, {"hold_seconds": 600}, {"name": "Seated, stalls, row A to F"})
    buy(shop.user(), sale.ticket_types[0], 2)
    page.reload()
    expect(page.get_by_role("row", name="Concert")).to_contain_text("2")
    check_looks(page)

    page.goto(f"/console/#/events/{sale.event}")
    page.get_by_text("The chart as a table").click()
    expect(figure(page, "On hold")).to_have_text("2")
    check_looks(page)
    for button in ("Capacity", "Edit", "Extend all holds"):
        page.get_by_role("button", name=button).first.click()
        check_looks(page)
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    for place in (f"events/{sale.event}/edit", "keys", "webhooks"):
        page.goto(f"/console/#/{place}")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        check_looks(page)
    page.get_by_role("button", name="New webhook").click()
    check_looks(page)
    page.keyboard.press("Escape")

    page.goto("/console/#/keys")
    page.get_by_role("button", name="New API key").click()
    page.get_by_label("Name").fill("Shop")
    check_looks(page)
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("button", name="I have stored it")).to_be_visible()
    check_looks(page)
