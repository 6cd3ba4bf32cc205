"""Who is signed in: over reloads, in several windows, and after it was ended elsewhere."""

from itertools import count

import httpx
from playwright.sync_api import Page, Route, expect

from gateway.pages.files import asset_hash
from tests.browser.visitors import Visitors
from tests.support.reverse_proxy import reverse_proxy
from tests.support.waiting import eventually
from tests.system.conftest import Shop

PASSWORD = "velvet-tram-42"
USER = """async () => {
  const { session } = await core("session");
  await session.restore();
  return session.user?.username ?? null;
}"""
ASK = """async reason => {
  await core("sign-in");
  const dialog = document.createElement("sign-in-dialog");
  document.body.append(dialog);
  window.answer = dialog.ask(reason).then(user => user?.username ?? null);
}"""
MY_NAME = """async () => {
  const { request } = await core("api");
  return (await request("GET", "api/users/me/")).body.username;
}"""
FAILURE_TO_RESTORE = """async () => {
  const { session } = await core("session");
  return session.restore().catch(error => [error.code, error.retryMax]);
}"""
_numbers = count(1)


def window_of(page: Page, root: str = "") -> Page:
    """A page of the installation there, which imports core modules by `window.core`."""
    folder = f"{root}/assets/{asset_hash()}/core/"
    page.add_init_script(f"window.core = name => import(`{folder}${{name}}.js`)")
    page.goto(f"{root}/")
    return page


def new_user(shop: Shop) -> str:
    name = f"window-user-{next(_numbers)}"
    body = {"username": name, "password": PASSWORD}
    assert shop.client().post("/api/users/", json=body).status_code == 201
    return name


def sign_in(page: Page, username: str) -> None:
    page.evaluate(
        "async ([name, password]) => (await core('session')).session.signIn(name, password)",
        [username, PASSWORD],
    )


def _is_signed_in(page: Page, expected: bool) -> None:
    user = page.evaluate("async () => (await core('session')).session.user")
    assert (user is not None) is expected


def test_registering_by_keyboard_alone(visitors: Visitors) -> None:
    visitors.expect_problem("400 to POST .*/api/users/")
    page = window_of(visitors.visitor())
    page.evaluate(ASK, "To buy tickets")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog.get_by_text("To buy tickets")).to_be_visible()
    expect(dialog.get_by_label("Username")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="I have no account yet")).to_be_focused()
    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog", name="Register")
    username, password = dialog.get_by_label("Username"), dialog.get_by_label("Password")
    expect(username).to_be_focused()
    name = f"window-user-{next(_numbers)}"
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type("1234")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(password).to_be_focused()
    expect(password).to_have_accessible_description(
        "At least 8 characters, not only digits. Use at least 8 characters. Use more than digits."
    )
    expect(username).to_have_attribute("aria-invalid", "false")
    expect(password).to_have_attribute("autocomplete", "new-password")
    password.fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert page.evaluate("() => window.answer") == name


def test_who_registers_again_after_a_lost_answer_is_signed_in(visitors: Visitors) -> None:
    visitors.expect_problem("40[01] to POST|503 to POST|ERR_CONNECTION_RESET")
    page = window_of(visitors.visitor())
    page.evaluate(ASK, "To buy tickets")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="I have no account yet").click()
    name = f"window-user-{next(_numbers)}"
    dialog.get_by_label("Username").fill(name)
    dialog.get_by_label("Password").fill(PASSWORD)
    alert, username = dialog.get_by_role("alert"), dialog.get_by_label("Username")

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route("**/api/users/", lose_the_answer, times=1)
    page.route("**/session/", lambda route: route.fulfill(status=503), times=1)
    for says in ("The server cannot be reached.", "The server is busy right now."):
        page.keyboard.press("Enter")
        expect(alert).to_contain_text(says)
    dialog.get_by_label("Password").fill(f"not {PASSWORD}")
    page.keyboard.press("Enter")
    taken = "This username is taken."
    expect(username).to_have_accessible_description(taken)
    dialog.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert page.evaluate("() => window.answer") == name


def test_a_wrong_password_is_told_and_escape_gives_up(visitors: Visitors, shop: Shop) -> None:
    visitors.expect_problem("401 to POST .*/session/")
    page = window_of(visitors.visitor())
    page.evaluate(ASK, "")
    page.keyboard.press("Enter")  # an empty form asks nobody
    username = page.get_by_label("Username")
    expect(username).to_have_accessible_description("Fill this in.")
    username.fill(new_user(shop))
    page.get_by_label("Password").fill("another one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("No account has this username and password.")
    page.keyboard.press("Escape")
    assert page.evaluate("() => window.answer") is None


def test_the_dialog_closes_where_another_window_signs_in(visitors: Visitors, shop: Shop) -> None:
    page = window_of(visitors.visitor())
    page.evaluate(ASK, "To buy tickets")
    expect(page.get_by_role("dialog")).to_be_visible()
    name = new_user(shop)
    sign_in(window_of(page.context.new_page()), name)
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("() => window.answer") == name


def test_a_dialog_that_is_dismissed_is_a_no(visitors: Visitors, shop: Shop) -> None:
    page = window_of(visitors.visitor())
    page.evaluate(ASK, "To buy tickets")
    # Its user is known in the moment in which it is dismissed.
    page.evaluate(
        """async () => {
          const { session } = await core("session");
          document.querySelector("dialog").close();
          Object.defineProperty(session, "user", { value: { username: "somebody" } });
          session.dispatchEvent(new Event("change"));
        }"""
    )
    assert page.evaluate("() => window.answer") is None


def test_a_session_outlives_a_reload_and_is_that_of_all_windows(
    visitors: Visitors, shop: Shop
) -> None:
    name = new_user(shop)
    page = window_of(visitors.visitor())
    other = window_of(page.context.new_page())
    assert other.evaluate(USER) is None
    sign_in(page, name)
    eventually(lambda: _is_signed_in(other, True))
    page.reload()
    assert page.evaluate(USER) == name
    assert page.evaluate(MY_NAME) == name
    stored = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
    assert "eyJ" not in stored + page.evaluate("document.cookie")

    page.evaluate("async () => (await core('session')).session.signOut()")
    eventually(lambda: _is_signed_in(other, False))
    assert page.context.cookies() == []


def test_a_window_that_is_suspended_in_its_turn_keeps_nobody_waiting(
    visitors: Visitors, shop: Shop
) -> None:
    page = window_of(visitors.visitor())
    suspended = window_of(page.context.new_page())
    suspended.evaluate(
        """() => new Promise(granted => {
          navigator.locks.request("eventify signed in /", () => new Promise(granted));
        })"""
    )
    name = new_user(shop)
    sign_in(page, name)
    assert page.evaluate(MY_NAME) == name


def test_under_a_path_prefix_a_session_is_that_of_this_installation(
    visitors: Visitors, shop: Shop
) -> None:
    name = new_user(shop)
    with reverse_proxy(shop.url, "/tickets", {"X-Forwarded-Prefix": "/tickets"}) as url:
        page = window_of(visitors.visitor(), url)
        sign_in(page, name)
        (cookie,) = page.context.cookies(f"{url}/session/")
        assert cookie["path"] == "/tickets/session/"
        page.reload()
        assert (page.evaluate(USER), page.evaluate(MY_NAME)) == (name, name)


def test_an_expired_token_is_renewed_without_notice(visitors: Visitors, shop: Shop) -> None:
    visitors.expect_problem("401 to GET .*/api/users/me/")
    page = window_of(visitors.visitor())
    name = new_user(shop)
    sign_in(page, name)

    def with_an_old_token(headers: dict[str, str]) -> dict[str, str]:
        return headers | {"authorization": "Bearer old"}

    page.route(
        "**/api/users/me/",
        lambda route: route.continue_(headers=with_an_old_token(route.request.headers)),
        times=2,
    )
    both = f"async () => Promise.all([({MY_NAME})(), ({MY_NAME})()])"
    renewals: list[str] = []
    page.on("request", lambda request: renewals.append(request.url))
    assert page.evaluate(both) == [name, name]
    assert sum("/session/refresh/" in url for url in renewals) == 1


def test_a_session_that_was_ended_elsewhere_is_over(visitors: Visitors, shop: Shop) -> None:
    visitors.expect_problem("401 to POST .*/session/refresh/")
    page = window_of(visitors.visitor())
    sign_in(page, new_user(shop))
    (cookie,) = page.context.cookies(f"{shop.url}/session/")
    httpx.post(f"{shop.url}/api/token/blacklist/", json={"refresh": cookie["value"]})
    page.reload()
    assert page.evaluate(USER) is None
    assert page.context.cookies(f"{shop.url}/session/") == []


def test_a_visitor_who_never_signed_in_asks_nobody(visitors: Visitors) -> None:
    page = visitors.visitor()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert window_of(page).evaluate(USER) is None
    assert [url for url in asked if "/session/" in url] == []


def test_a_refresh_whose_answer_is_lost_is_tried_again_in_time(
    visitors: Visitors, shop: Shop
) -> None:
    name = new_user(shop)
    page = window_of(visitors.visitor())
    sign_in(page, name)
    page.reload()

    def lose_the_answer(route: Route) -> None:
        headers = {each: route.request.all_headers()[each] for each in ("cookie", "origin")}
        assert httpx.post(route.request.url, headers=headers).status_code == 200

    page.route("**/session/refresh/", lose_the_answer, times=1)
    code, longest_pause = page.evaluate(FAILURE_TO_RESTORE)
    assert code == "network"
    page.wait_for_timeout(longest_pause * 1_500)
    assert page.evaluate(USER) == name


def test_a_page_that_is_shown_as_it_was_left_is_loaded_anew(visitors: Visitors) -> None:
    page = window_of(visitors.visitor())
    page.evaluate("() => core('session')")
    with page.expect_event("load"):
        page.evaluate(
            "() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
        )
