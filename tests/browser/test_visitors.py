"""What the tests of pages rely on: nothing that goes wrong in a window stays unseen."""

import pytest
from playwright.sync_api import expect

from shared.free_port import free_port
from tests.browser.visitors import (
    Visitors,
    check_accessibility,
    check_no_horizontal_scrolling,
)

INACCESSIBLE = """<html lang="en"><title>Shop</title><main><h1>Shop</h1>
<img src="data:," style="width: 400px"></main>"""


SAID = "() => console.error('said')"
THROWN = "() => setTimeout(() => { throw Error('bug'); })"
REFUSED = "url => fetch(url).catch(() => 0)"


def test_what_goes_wrong_in_a_window_fails_its_test(visitors: Visitors) -> None:
    page = visitors.visitor()
    page.evaluate(SAID)
    page.evaluate(THROWN)
    page.evaluate(REFUSED, f"http://127.0.0.1:{free_port()}/")
    page.goto("/nowhere/")
    page.evaluate(REFUSED, "/readyz")

    for problem in ("console: said", "uncaught: bug", "request: GET http", "response: 404 to GET"):
        assert any(line.startswith(problem) for line in visitors.problems)
    assert any("Content Security Policy" in line for line in visitors.problems)
    assert visitors.unexpected() == visitors.problems
    visitors.expect_problem("")


def test_what_a_page_may_not_be_is_found(visitors: Visitors) -> None:
    page = visitors.visitor(width=320)
    page.set_content(INACCESSIBLE)
    expect(page.get_by_role("heading")).to_be_visible()
    with pytest.raises(AssertionError, match="image-alt"):
        check_accessibility(page)
    with pytest.raises(AssertionError, match="img"):
        check_no_horizontal_scrolling(page)
