"""`eventify demo --watch`: whoever is told the address sees the rush from its beginning."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.steps import figure, sign_in
from tests.browser.visitors import Visitors
from tests.support.processes import killed_at_last
from tests.system.conftest import Shop
from tests.system.operators import PROJECT

SMALL = ("--buyers", "80", "--tickets", "60", "--seconds", "0.5")
ADDRESS = re.compile(r"console +(\S+)\n +sign in +(\S+) +(\S+)\n")


@contextmanager
def watched_demo(shop: Shop, chart: Path) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """The demo as it waits for its rush, and what it has printed of the console."""
    command = shop.operator.command("demo", "--watch", *SMALL, "--chart", str(chart))
    demo = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=shop.operator.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with killed_at_last(demo):
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if "The rush begins" in line:
                break
        address = ADDRESS.search(shown)
        assert address is not None, shown
        yield demo, address


def test_the_rush_begins_when_the_organiser_has_signed_in(
    shop: Shop, visitors: Visitors, tmp_path: Path
) -> None:
    with watched_demo(shop, tmp_path / "sale.png") as (demo, printed):
        address, username, password = printed.groups()
        page = visitors.visitor()
        page.goto(address)
        sign_in(page, username, password)
        expect(figure(page, "Tickets left")).to_have_text("60")
        expect(figure(page, "Confirmed")).to_have_text("60")
        output, _ = demo.communicate(timeout=30)
        assert "The audit passes" in output
        assert demo.returncode == 0
