"""Visitors of the pages: each has a browser of their own, in which all that goes wrong is noted."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

TIMEOUT_MS = 20_000  # of each expectation, on a machine that is busy with other tests
# What a page ends itself, or leaves behind when it is left, such as a stream.
ABORTED = "net::ERR_ABORTED"
# The console's copy of what `_note_response` notes with its method and status.
LOADING_FAILED = "Failed to load resource"
END_TRANSITIONS = (
    "() => document.getAnimations().forEach(a => a instanceof CSSTransition && a.finish())"
)
# Of what is well it says as much as it can: to hand that over took half of the time.
RUN_AXE = "options => axe.run(options).then(({ violations }) => ({ violations }))"


class Visitors:
    """Opens windows, and knows everything that went wrong in any of them.

    Attributes:
        problems: a line for each console error or warning, uncaught exception, violation of the
            Content-Security-Policy, failed request, and answer of 400 and above.
        expected: patterns of lines that are no problem in this test.
    """

    def __init__(self, browser: Browser, base_url: str, screenshots: Path) -> None:
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.contexts: list[BrowserContext] = []
        self._browser = browser
        self._base_url = base_url
        self._screenshots = screenshots

    def visitor(
        self,
        width: int = 1280,
        height: int = 800,
        colours: Literal["light", "dark"] = "light",
        **options: object,
    ) -> Page:
        """A new visitor, with cookies and storage of their own.

        Args:
            options: of Playwright's `new_context`.
        """
        context = self._browser.new_context(
            base_url=self._base_url,
            viewport={"width": width, "height": height},
            color_scheme=colours,
            **options,  # type: ignore[arg-type]
        )
        context.set_default_timeout(TIMEOUT_MS)
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))
        context.on("requestfailed", self._note_failure)
        context.on("response", self._note_response)
        self.contexts.append(context)
        return context.new_page()

    def expect_problem(self, pattern: str) -> None:
        """Lines in which this regular expression is found are no problem in this test."""
        self.expected.append(pattern)

    def unexpected(self) -> list[str]:
        return [line for line in self.problems if not self._is_expected(line)]

    def take_screenshots(self) -> list[str]:
        """The files, one for each window that is open."""
        files = []
        for page in [page for context in self.contexts for page in context.pages]:
            files.append(str(self._screenshots / f"window-{len(files) + 1}.png"))
            page.screenshot(path=files[-1], full_page=True)
        return files

    def _is_expected(self, line: str) -> bool:
        return any(re.search(pattern, line) for pattern in self.expected)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(LOADING_FAILED):
            self.problems.append(f"console: {message.text} ({message.location['url']})")

    def _note_failure(self, request: Request) -> None:
        if request.failure != ABORTED:
            self.problems.append(f"request: {request.method} {request.url}: {request.failure}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(
                f"response: {response.status} to {response.request.method} {response.url}"
            )


@contextmanager
def visitors_of(browser: Browser, base_url: str, screenshots: Path) -> Iterator[Visitors]:
    visitors = Visitors(browser, base_url, screenshots)
    try:
        yield visitors
    finally:
        for context in visitors.contexts:
            context.close()


def check_accessibility(page: Page, **options: object) -> None:
    """
    Args:
        options: of axe's `run`.

    Raises:
        AssertionError: with each rule of axe that the page breaks, and where.
    """
    # Colours that are on their way from one to another have any contrast.
    page.evaluate(END_TRANSITIONS)
    if page.evaluate("() => !('axe' in window)"):
        page.evaluate(Axe().axe_script)
    run = {"resultTypes": ["violations"]} | options
    results = AxeResults(page.evaluate(RUN_AXE, run))
    assert results.violations_count == 0, f"{page.url}: {results.generate_report()}"


def check_no_horizontal_scrolling(page: Page) -> None:
    """Raises AssertionError: with the elements that are wider than the window."""
    wide = page.evaluate(
        "() => document.documentElement.scrollWidth <= window.innerWidth ? []"
        " : [...document.querySelectorAll('body *')]"
        ".filter(e => e.getBoundingClientRect().right > window.innerWidth)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == [], f"{page.url}: {wide}"
