"""A whole sale in real windows: its organiser at a desk, two buyers with small telephones."""

from datetime import datetime, timedelta

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.looks import check_looks
from tests.browser.steps import client_of, confirm, figure, register, ticket_type
from tests.browser.visitors import Visitors
from tests.system.conftest import Shop
from tests.system.selling import PURCHASES

# As short as a ticket type may have it; it runs out while the story goes on.
HOLD_SECONDS = 30
RUNS_OUT_WITHIN_MS = 60_000
# A page asks each second or two, on a machine that is busy with other tests.
AT_ONCE_MS = 10_000
STORED = "() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])"


def test_a_sale_from_its_announcement_to_its_audit(visitors: Visitors, shop: Shop) -> None:
    desk = visitors.visitor(width=1280)
    ana = visitors.visitor(width=320, height=640)
    ben = visitors.visitor(width=360, height=740, colours="dark")

    organiser = organiser_announces(desk)
    for buyer in (ana, ben):
        buyer.goto("/")
        buyer.get_by_role("link", name="Night music").click()
        expect(ticket_type(buyer, "Stalls")).to_contain_text("1 left")
    check_looks(ana)
    ana_gets_the_last_ticket_by_keyboard(ana)
    expect(ticket_type(ben, "Stalls")).to_contain_text("Sold out", timeout=AT_ONCE_MS)

    visitors.expect_problem(f"request: POST .*{PURCHASES}: net::ERR_CONNECTION_RESET")
    ben_takes_one_although_the_answer_is_lost(ben)
    expect(ticket_type(ana, "Balcony")).to_contain_text("All on hold", timeout=AT_ONCE_MS)
    check_looks(ana, ben)
    expect(figure(desk, "On hold")).to_have_text("1")

    organiser_pauses_and_resumes(desk, ana)
    organiser_writes_a_notice(desk, ana, ben)

    expired = ben.get_by_role("heading", name="The time to pay has run out")
    expect(expired).to_be_visible(timeout=RUNS_OUT_WITHIN_MS)
    expect(ticket_type(ana, "Balcony")).to_contain_text("1 left", timeout=AT_ONCE_MS)
    check_looks(ben)
    expect(figure(desk, "Tickets left")).to_have_text("1")

    organiser_has_it_audited(desk)
    ledger_has_what_the_windows_showed(shop, organiser)
    for page in (desk, ana, ben):
        assert "eyJ" not in page.evaluate(STORED), "a token is stored"
    organiser_signs_out(desk)


def organiser_announces(desk: Page) -> str:
    desk.goto("/console/")
    username = register(desk)
    expect(desk.get_by_text("You have no events yet")).to_be_visible()
    desk.get_by_role("link", name="New event").click()
    starts = datetime.now() + timedelta(days=30)  # noqa: DTZ005 - in the window's time zone
    desk.get_by_label("Title").fill("Night music")
    desk.get_by_label("Starts").fill(f"{starts:%Y-%m-%dT20:00}")
    desk.get_by_label("Ends").fill(f"{starts:%Y-%m-%dT23:00}")
    desk.get_by_label("Published").check()
    desk.get_by_label("Show how many").check()
    check_looks(desk)
    desk.get_by_role("button", name="Create the event").click()
    expect(desk.get_by_role("heading", name="Night music")).to_be_visible()
    organiser_adds(desk, "Stalls", {"Price": "25.00", "Tickets to sell": "1"})
    held = {"Hold for the payment": str(HOLD_SECONDS)}
    organiser_adds(desk, "Balcony", {"Price": "40.00", "Tickets to sell": "1"} | held)
    expect(figure(desk, "Tickets left")).to_have_text("2")
    return username


def organiser_adds(desk: Page, name: str, fields: dict[str, str]) -> None:
    desk.get_by_role("button", name="Add a ticket type").click()
    dialog = desk.get_by_role("dialog")
    for label, value in ({"Name": name} | fields).items():
        dialog.get_by_label(label).fill(value)
    check_looks(desk)
    confirm(desk, "Save")
    expect(desk.get_by_role("row", name=name)).to_be_visible()


def ana_gets_the_last_ticket_by_keyboard(page: Page) -> None:
    press(ticket_type(page, "Stalls").get_by_role("button").last)
    press(page.get_by_role("button", name="Buy 1 ticket"))
    register(page)
    expect(page.get_by_role("heading", name="You have your tickets")).to_be_focused()
    check_looks(page)
    press(page.get_by_role("button", name="Done"))


def press(button: Locator) -> None:
    """By the keyboard, from where the focus is."""
    for _ in range(30):
        button.page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    expect(button).to_be_focused()
    button.page.keyboard.press("Enter")


def ben_takes_one_although_the_answer_is_lost(page: Page) -> None:
    page.get_by_role("button", name="Sign in").first.click()
    register(page)
    ticket_type(page, "Balcony").get_by_role("button").last.click()

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route(f"**{PURCHASES}", lose_the_answer, times=1)
    page.get_by_role("button", name="Buy 1 ticket").click()
    expect(page.get_by_text("If the connection breaks, we send it again.")).to_be_visible()
    page.reload()
    reserved = page.get_by_role("heading", name="Your tickets are reserved")
    expect(reserved).to_be_visible()
    number = page.get_by_text("Purchase number").locator("visible=true").last
    before = number.text_content() or ""
    page.reload()
    expect(reserved).to_be_visible()
    expect(number).to_have_text(before)


def organiser_pauses_and_resumes(desk: Page, buyer: Page) -> None:
    desk.get_by_role("button", name="Pause all").click()
    check_looks(desk)
    confirm(desk, "Pause the sale")
    expect(buyer.get_by_text("The sale is paused.")).to_be_visible(timeout=AT_ONCE_MS)
    check_looks(buyer)
    desk.get_by_role("button", name="Resume all").click()
    confirm(desk, "Resume the sale")
    expect(buyer.get_by_text("The sale is paused.")).to_be_hidden(timeout=AT_ONCE_MS)


def organiser_writes_a_notice(desk: Page, *buyers: Page) -> None:
    desk.get_by_role("button", name="Write a notice").click()
    desk.get_by_role("dialog").get_by_label("Text").fill("Doors open at seven.")
    confirm(desk, "Save")
    for buyer in buyers:
        expect(buyer.get_by_text("Doors open at seven.", exact=True)).to_be_visible(
            timeout=AT_ONCE_MS
        )


def organiser_has_it_audited(desk: Page) -> None:
    desk.get_by_role("button", name="Run the audit").click()
    expect(desk.get_by_role("region", name="Audit")).to_contain_text(
        "All 5 entries add up: 1 sold + 0 held + 1 left = 2 issued."
    )
    check_looks(desk)


def ledger_has_what_the_windows_showed(shop: Shop, organiser: str) -> None:
    client = client_of(shop, organiser)
    (event,) = client.get("/api/events/?owner=me").json()["results"]
    entries = client.get(f"/api/events/{event['id']}/ledger/").json()["entries"]
    kinds = [entry["kind"] for entry in entries]
    assert kinds == ["issued", "issued", "confirmed", "held", "expired"]
    with shop.database() as rows:
        rows.execute(
            "SELECT count(*) FROM requests WHERE event_id = %s AND kind = 'buy'", (event["id"],)
        )
        assert rows.fetchone() == (2,), "somebody bought twice"
    assert shop.audit()["ok"]


def organiser_signs_out(desk: Page) -> None:
    desk.reload()
    expect(desk.get_by_role("heading", name="Night music")).to_be_visible()
    desk.get_by_role("button", name="Sign out").click()
    signing_in = desk.get_by_role("dialog", name="Sign in")
    expect(signing_in).to_be_visible()
    desk.reload()
    expect(signing_in).to_be_visible()
    assert desk.context.cookies() == []
