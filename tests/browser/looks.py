"""A page as different people see it: on a telephone or a desk, in light and dark."""

from playwright.sync_api import Page

from tests.browser.visitors import check_accessibility, check_no_horizontal_scrolling

WIDTHS = (320, 1280)


def check_looks(*pages: Page) -> None:
    """
    Raises:
        AssertionError: one breaks a rule of accessibility, or has to be scrolled sideways.
    """
    for page in pages:
        before = page.viewport_size
        assert before is not None
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": before["height"]})
            check_no_horizontal_scrolling(page)
            check_accessibility(page)
            page.emulate_media(color_scheme="dark")
            check_accessibility(page, runOnly=["color-contrast"])
            page.emulate_media(color_scheme="light")
        page.set_viewport_size(before)
