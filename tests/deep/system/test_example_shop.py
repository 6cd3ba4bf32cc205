"""The shop of docs/payments.md loses neither money nor tickets, wherever it is killed."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import CodeType
from typing import Any

import httpx
import pytest

from tests.support.example_shop import EXAMPLE, running
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import PURCHASES, WAIT, buy, create, put_on_sale

PROGRAM = EXAMPLE / "shop.py"
NOWHERE = "http://127.0.0.1:9"
# Those that take long are few; a prime number, so that each meets all kinds of requests.
FAULTS = (
    *("ok", "doubled", "lost", "declined", "ok", "broken", "late", "ok", "doubled", "reordered"),
    *("declined", "ok", "busy", "lost", "ok", "silent", "ok"),
)


def provider(*faults: str) -> AbstractContextManager[str]:
    """The address of a payment provider."""
    return running("provider.py", "0", *faults)


class ExampleShop:
    """The shop as processes that are killed, with an account and a database of their own."""

    def __init__(self, shop: Shop, database: Path, provider_url: str, *options: str) -> None:
        self.owner = shop.user()
        self.database = database
        self.provider_url = provider_url
        self.held = put_on_sale(self.owner, 1_000, hold_seconds=600)
        self.sold_out = put_on_sale(self.owner, 0, hold_seconds=600)
        self.without_holds = put_on_sale(self.owner, 1_000)
        self.options = options
        self.killed_at: set[int] = set()
        scopes = {"name": "Shop", "scopes": ["purchase", "payments"]}
        self._environment = {
            "SHOP_EVENTIFY_URL": shop.url,
            "SHOP_KEY": create(self.owner, "/api/keys/", scopes)["key"],
            "SHOP_PROVIDER_URL": provider_url,
            "SHOP_DATABASE": str(database),
            "SHOP_PROVIDER_TIMEOUT_SECONDS": "0.04",
        }

    def buys(self, name: str, *ticket_types: int) -> list[list[str]]:
        return [
            ["buy", f"{name}-{{n}}", "buyer-{n}", str(one), "2", *self.options]
            for one in ticket_types
        ]

    def run(
        self, in_turn: list[list[str]], killed_before: Iterable[int] = (), **environment: str
    ) -> None:
        command = [sys.executable, "-m", "tests.support.dies_at_each_line"]
        ended = subprocess.run(
            [*command, str(PROGRAM), json.dumps(in_turn), json.dumps(sorted(killed_before))],
            cwd=PROJECT,
            env=os.environ | self._environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        self.killed_at |= set(json.loads(ended.stdout.splitlines()[-1]))

    def orders(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM orders ORDER BY id")]

    def purchases(self) -> Iterator[dict[str, Any]]:
        url: str | None = f"{PURCHASES}?page_size=100"
        while url is not None:
            page = self.owner.get(url).json()
            yield from page["results"]
            url = page["next"]

    def release_some(self) -> None:
        """As if these holds had been given up while nobody looked."""
        for order in self.orders()[::3]:
            if order["purchase"] is not None:
                self.owner.post(f"{PURCHASES}{order['purchase']}/release/")

    def use_some_payments(self) -> None:
        """As if another system of the owner had payments of the same names."""
        for order in self.orders()[1::3]:
            if order["state"] in ("held", "paid"):
                held = buy(self.owner, self.held, 2, **WAIT).json()
                names = {"payment_reference": order["payment"], "currency": held["currency"]}
                path = f"{PURCHASES}{held['id']}/"
                paid = self.owner.post(
                    f"{path}confirm/", json=names | {"amount": held["total_price"]}
                )
                if paid.status_code == 409:  # the shop has used it itself, and was killed
                    self.owner.post(f"{path}release/")

    def cancel_some(self) -> None:
        """As if somebody had cancelled what the shop had confirmed, and not yet captured."""
        for order in self.orders():
            if order["state"] == "confirmed":
                self.owner.post(
                    f"{PURCHASES}{order['purchase']}/cancel/",
                    json={"items": [{"ticket_type": self.held, "quantity": 1}]},
                    headers={"Idempotency-Key": f"by hand {order['id']}"},
                )

    def live_through_all(self) -> None:
        types = (self.held, self.held, self.held, self.sold_out, self.without_holds)
        self.run(self.buys("order", *types))
        self.run(self.buys("no-key", self.held), self.killed_at, SHOP_KEY="none")
        nobody_answers = {"SHOP_EVENTIFY_URL": NOWHERE, "SHOP_GIVE_UP_SECONDS": "0"}
        self.run(self.buys("no-answer", self.held), self.killed_at, **nobody_answers)
        self.release_some()
        self.use_some_payments()
        self.cancel_some()
        self.run([["resume"]])


def lines_of(code: CodeType) -> set[int]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return {line for *_, line in code.co_lines() if line}.union(*map(lines_of, inner))


def ends_of(shop: ExampleShop) -> set[str]:
    """How its orders ended: money was kept for what that payment confirms, and for nothing else."""
    payments = httpx.get(f"{shop.provider_url}/payments/").json()
    purchases = {one["id"]: one for one in shop.purchases()}
    confirmed = {
        one["payment_reference"]
        for one in purchases.values()
        if one["status"] == "confirmed" and "buyer" in one
    }
    ends = set()
    for order in shop.orders():
        paid = payments.get(order["payment"], "none")
        ends.add(f"{order['state']} {paid} {order['why']}")
        if order["state"] == "sold":
            assert paid == "captured", order
            purchase = purchases[order["purchase"]]
            assert purchase["payment_reference"] == order["payment"]
            assert purchase["total_price"] == order["amount"]
            assert purchase["buyer"] == order["buyer"]
        else:
            assert (order["state"], paid in ("none", "voided", "refunded")) == ("not_sold", True)
        assert (order["state"] == "sold") == (order["payment"] in confirmed), order
    assert len(confirmed) == sum(order["state"] == "sold" for order in shop.orders())
    assert not {one["status"] for one in purchases.values()} & {"queued", "held"}
    return ends


# How orders end: what became of the money, and why.
AUTHORISES = {
    *("sold captured None", "not_sold none not_enough_tickets", "not_sold none declined"),
    *("not_sold voided hold_released", "not_sold none unpaid", "not_sold voided unpaid"),
    "not_sold voided payment_reference_used",
}
CAPTURES = {
    *("sold captured None", "not_sold none not_enough_tickets", "not_sold none declined"),
    *("not_sold refunded hold_released", "not_sold none unpaid"),
    "not_sold refunded payment_reference_used",
}


@pytest.mark.timeout(300)
def test_money_is_kept_for_confirmed_purchases_only_wherever_the_shop_is_killed(
    hooked_shop: Shop, tmp_path: Path
) -> None:
    with provider(*FAULTS) as url, ThreadPoolExecutor() as pool:
        authorises = ExampleShop(hooked_shop, tmp_path / "authorises.sqlite3", url)
        captures = ExampleShop(hooked_shop, tmp_path / "captures.sqlite3", url, "--capture-first")
        list(pool.map(ExampleShop.live_through_all, (authorises, captures)))
        assert ends_of(authorises) >= AUTHORISES
        assert ends_of(captures) >= CAPTURES
    lines = lines_of(compile(PROGRAM.read_text(), str(PROGRAM), "exec"))
    assert lines - authorises.killed_at - captures.killed_at == set()


def test_the_example_is_as_short_as_the_guide_says() -> None:
    assert len([line for line in PROGRAM.read_text().splitlines() if line]) < 150
