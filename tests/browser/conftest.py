"""One system and one Chromium for all tests of this folder, which SHARE_A_SYSTEM."""

from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import require_chromium, running_chromium
from tests.browser.visitors import TIMEOUT_MS, Visitors, visitors_of
from tests.system.conftest import Shop, open_shop

expect.set_options(timeout=TIMEOUT_MS)


# Of this package only: no test of another kind could run an event loop beside Playwright's.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with running_chromium(require_chromium()) as browser:
        yield browser


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    require_chromium()
    # All visitors have one address.
    with open_shop(
        EVENTIFY_SIGN_IN_RATE_BURST="10000",
        EVENTIFY_CATALOG_WRITE_RATE_BURST="10000",
        EVENTIFY_LIST_RATE_BURST="10000",
    ) as shop:
        yield shop


@pytest.fixture(scope="package")
def organiser(shop: Shop) -> httpx.Client:
    """An organiser who uses the API."""
    return shop.user()


@pytest.fixture
def visitors(browser: Browser, shop: Shop, tmp_path: Path) -> Iterator[Visitors]:
    """Windows of this test, which fails if anything goes wrong in one that it does not expect."""
    with visitors_of(browser, shop.url, tmp_path) as visitors:
        yield visitors


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, object, object]:
    result = yield
    if isinstance(visitors := item.funcargs.get("visitors"), Visitors):
        assert visitors.unexpected() == []
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails leaves a screenshot of each window."""
    report = yield
    visitors = item.funcargs.get("visitors")
    if call.when == "call" and report.failed and isinstance(visitors, Visitors):
        report.sections.append(("screenshots", "\n".join(visitors.take_screenshots())))
        report.sections.append(("what went wrong in windows", "\n".join(visitors.problems)))
    return report
