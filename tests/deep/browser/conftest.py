"""The system, the browser and the windows of tests/browser, for these tests."""

from tests.browser.conftest import (  # noqa: F401 - pytest finds them here
    browser,
    organiser,
    pytest_runtest_call,
    pytest_runtest_makereport,
    shop,
    visitors,
)
