"""`make screenshots`: the pages in the README, taken during a real rush on a system of its own.

Writes docs/console.png, the organiser's desk, and docs/storefront.png, a buyer's telephone before
and after the one press.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from loadtests.demo.rush import crowd, rush
from loadtests.demo.sale import DemoSale
from tests.browser.chromium import MISSING, find_chromium, running_chromium
from tests.browser.steps import Published, client_of, figure, publish, register_as, ticket_type
from tests.browser.visitors import TIMEOUT_MS, visitors_of
from tests.support.waiting import eventually
from tests.system.conftest import Shop, open_shop
from tests.system.operators import PROJECT

DOCS = PROJECT / "docs"
BUYERS = 5_000
RUSH_SECONDS = 30.0
TYPES = (
    {"name": "Standing", "price": "49.00", "capacity": 2_000},
    {"name": "Seated", "price": "79.00", "capacity": 2_300, "hold_seconds": 600},
    {"name": "Balcony", "price": "119.00", "capacity": 700},
)
START = datetime.now(UTC).replace(hour=20, minute=0, second=0) + timedelta(days=60)
EVENT = {
    "start_time": f"{START:%Y-%m-%dT%H:%M:%SZ}",
    "end_time": f"{START + timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}",
    "title": "Night music by the lake",
    "description": "Doors open at six. Bring a blanket: the meadow is wet after sunset.",
    "payment_url": "https://shop.example/pay",
}
# When so few are left, the rush has left its mark on every figure.
LEFT = 1_500
# Letters stay sharp, and the files small.
COLOURS = 256
GAP = 40


def main() -> None:
    program = find_chromium()
    if program is None:
        sys.exit(f"Error: {MISSING}")
    with (
        open_shop() as shop,
        running_chromium(program) as browser,
        visitors_of(browser, shop.url, DOCS) as visitors,
    ):
        desk = visitors.visitor(width=1440, height=900)
        telephone = visitors.visitor(width=360, height=740, device_scale_factor=2)
        desk.goto("/console/")
        register_as(desk, "lakeside")
        sale = publish(client_of(shop, "lakeside"), *TYPES, **EVENT)
        desk.goto(f"/console/#/events/{sale.event}")
        sign_in_early(telephone, sale)
        with rushing(shop, sale):
            eventually(lambda: has_sold(desk), within_seconds=4 * RUSH_SECONDS)
            before = telephone.screenshot()
            console = desk.screenshot(full_page=True)
            telephone.get_by_role("button", name="Buy 2 tickets").click()
            expect(telephone.get_by_text("left to pay")).to_be_visible(timeout=TIMEOUT_MS)
            after = telephone.screenshot()
    save(DOCS / "console.png", console)
    save(DOCS / "storefront.png", before, after)


def sign_in_early(telephone: Page, sale: Published) -> None:
    telephone.goto(sale.page)
    telephone.get_by_role("button", name="Sign in").first.click()
    register_as(telephone, "mira")
    for _ in range(2):
        ticket_type(telephone, "Seated").get_by_role("button").last.click()


@contextmanager
def rushing(shop: Shop, sale: Published) -> Iterator[None]:
    """The rush of `make demo`, until it is over."""
    tokens = shop.operator.call("token", "rush", "--count", str(BUYERS)).stdout.split()
    buyers = crowd(tokens, sale.ticket_types, RUSH_SECONDS, seed=1)
    seen = DemoSale(tickets=0, buyers=BUYERS)
    thread = threading.Thread(target=rush, args=(shop.url, buyers, seen))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def has_sold(desk: Page) -> None:
    left = int((figure(desk, "Tickets left").text_content() or "").replace(",", ""))
    assert left <= LEFT


def save(file: Path, *screenshots: bytes) -> None:
    """Side by side."""
    images = [Image.open(BytesIO(each)).convert("RGB") for each in screenshots]
    width = sum(image.width + GAP for image in images) - GAP
    picture = Image.new("RGB", (width, images[0].height), "white")
    at = 0
    for image in images:
        picture.paste(image, (at, 0))
        at += image.width + GAP
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(PROJECT)}: {file.stat().st_size / 1000:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()
