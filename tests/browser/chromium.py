"""The machine's Chromium, for as long as tests need it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium is installed: apt-get install chromium, or name yours in $CHROMIUM"


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def require_chromium() -> str:
    """Skips the test that runs where there is none; fails it in CI."""
    found = find_chromium()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@contextmanager
def running_chromium(program: str) -> Iterator[Browser]:
    """Until the block ends, this thread has Playwright's event loop, and no other can run in it."""
    # Its sandbox refuses root; containers have a small /dev/shm.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
