"""What organisers and buyers do on the pages."""

from dataclasses import dataclass
from uuid import uuid4

import httpx
from playwright.sync_api import Locator, Page, Route, expect

from tests.system.conftest import Shop
from tests.system.selling import EVENTS, TICKET_TYPES, create, event_fields, ticket_type_fields

PASSWORD = "velvet-tram-42"


@dataclass(frozen=True)
class Published:
    """A published event: its id, and those of its ticket types."""

    event: int
    ticket_types: list[int]

    @property
    def page(self) -> str:
        return f"/events/{self.event}/"


def publish(organiser: httpx.Client, *types: dict[str, object], **event: object) -> Published:
    """By the API. 10 tickets of each type unless it says otherwise."""
    fields = event_fields(published=True, show_left=True, **event)
    id_ = create(organiser, EVENTS, fields)["id"]
    bodies = [ticket_type_fields(id_, **each) for each in types]
    return Published(id_, [create(organiser, TICKET_TYPES, body)["id"] for body in bodies])


def sign_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """In the dialog, which is open."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Username").fill(username)
    dialog.get_by_label("Password").fill(password)
    dialog.get_by_label("Password").press("Enter")
    expect(dialog).to_be_hidden()


def register(page: Page, role: str = "visitor") -> str:
    """A new account, in the dialog that is open; returns its name."""
    username = f"{role}-{uuid4().hex[:8]}"
    register_as(page, username)
    return username


def register_as(page: Page, username: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name="I have no account yet").click()
    sign_in(page, username)


def end_session(page: Page, shop: Shop, url: str | None = None) -> None:
    """It ends elsewhere. The page learns it from its next request to `url`, a glob, or a reload."""
    (cookie,) = page.context.cookies(f"{shop.url}/session/")
    blacklist = f"{shop.url}/api/token/blacklist/"
    assert httpx.post(blacklist, json={"refresh": cookie["value"]}).status_code == 200

    def refuse(route: Route) -> None:
        problem = '{"code": "token_not_valid"}'
        route.fulfill(status=401, content_type="application/problem+json", body=problem)

    if url is not None:
        page.route(url, refuse, times=1)


def client_of(shop: Shop, username: str) -> httpx.Client:
    """Of somebody who registered here, for what they do with the API."""
    signed_in = {"username": username, "password": PASSWORD}
    return shop.client(shop.client().post("/api/token/", json=signed_in).json()["access"])


def confirm(page: Page, button: str) -> None:
    """Answers the question that is asked."""
    page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def figure(page: Page, name: str) -> Locator:
    """One of the console's live figures."""
    named = page.locator("dl.figures div", has=page.get_by_text(name, exact=True))
    return named.locator("dd").first


def ticket_type(page: Page, name: str) -> Locator:
    """Of those that a buyer chooses from."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def opened(page: Page, sale: Published, name: str = "Standing") -> Page:
    """The page of a sale, once it shows the ticket type of this name."""
    page.goto(sale.page)
    expect(ticket_type(page, name)).to_be_visible()
    return page
