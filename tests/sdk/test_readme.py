"""Each example of the README does what it says, as a program of its own."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from eventify_client import Client

from shared.free_port import free_port
from tests.sdk.conftest import token_of
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import put_on_sale, sale_held

PASSWORD = "nine boats at noon"
README = (PROJECT / "sdk" / "python" / "README.md").read_text()
BUY, SELL, FOLLOW, RECEIVE, SHOW = re.findall(
    r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
)


@contextmanager
def program(
    source: str, folder: Path, *arguments: object, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    paths = {"PYTHONPATH": str(PROJECT / "sdk" / "python")}
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=folder,
        env=os.environ | paths | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def output(source: str, folder: Path, *arguments: object, **environment: str) -> str:
    with program(source, folder, *arguments, **environment) as process:
        printed, _ = process.communicate(timeout=40)
        assert process.returncode == 0, printed
        return printed


def owner_of(shop: Shop) -> Client:
    return Client(shop.url, token=token_of(shop.user()))


def test_buy_with_a_stored_key(shop: Shop, tmp_path: Path) -> None:
    ticket_type = put_on_sale(shop.user(), 3)
    mine = {"BUYER": f"theo-{uuid4()}", "BUYER_PASSWORD": PASSWORD, "EVENTIFY_URL": shop.url}
    with Client(shop.url) as nobody:
        body = {"username": mine["BUYER"], "password": PASSWORD}
        nobody.raw.request("POST", "/api/users/", json=body)
    assert output(BUY, tmp_path, ticket_type, **mine) == ""
    assert (tmp_path / "tickets.txt").read_text().split()[1:] == ["confirmed", "50.00"]
    assert not (tmp_path / "purchase.key").exists()
    assert "Not enough tickets" in output(BUY, tmp_path, ticket_type, **mine)
    assert not (tmp_path / "purchase.key").exists()


def test_hold_take_a_payment_confirm(shop: Shop, tmp_path: Path) -> None:
    seller = shop.user()
    ticket_type = put_on_sale(seller, 10, hold_seconds=600)
    with Client(shop.url, token=token_of(seller)) as owner:
        scopes = {"name": "Shop", "scopes": ["read", "purchase", "payments"]}
        key = owner.raw.request("POST", "/api/keys/", json=scopes)["key"]
        shop_is = {"SHOP_KEY": key, "EVENTIFY_URL": shop.url}
        first = output(SELL, tmp_path, uuid4(), "customer-1", ticket_type, **shop_is)
        assert first.split()[1] == "confirmed"
        (sold,) = owner.purchases.list()
        assert (sold.id, sold.buyer) == (first.split()[0], "customer-1")
        order = uuid4()
        without_holds = put_on_sale(seller, 10)
        for status in ("no holds", "cancelled"):
            with program(SELL, tmp_path, order, "customer-1", without_holds, **shop_is) as process:
                process.communicate(timeout=40)
                assert process.returncode == 1, status
            assert next(owner.purchases.list()).status == "cancelled"
    # A restore may have lost the purchase of an order that was paid: its payment is given back.
    sold_out = put_on_sale(seller, 1, hold_seconds=600)
    with Client(shop.url, token=key) as server:
        server.purchases.buy({sold_out: 1}, key="order-5", buyer="customer-2")
    shown = re.sub(r'("""At your.*void.*""")', r'\1\n    print("void", reference)', SELL)
    with program(shown, tmp_path, "paid", "customer-1", sold_out, **shop_is) as process:
        assert process.communicate(timeout=40)[0] == "void payment-paid\n"
        assert process.returncode == 1
    # An order that somebody confirmed by hand, for another payment, stays sold.
    with Client(shop.url, token=key) as server:
        held = server.purchases.buy({ticket_type: 1}, key="order-7", buyer="customer-1")
        paid = {"amount": held.total_price, "currency": held.currency}
        server.purchases.confirm(held.id, payment_reference="by hand", **paid)
        with program(SELL, tmp_path, 7, "customer-1", ticket_type, **shop_is) as process:
            process.communicate(timeout=40)
            assert process.returncode == 1
        assert server.purchases.read(held.id).status == "confirmed"


def test_follow_the_feed_into_a_database(shop: Shop, tmp_path: Path) -> None:
    seller = shop.user()
    ticket_type = put_on_sale(seller, 10)
    database = tmp_path / "sale.db"

    def numbers() -> list[int]:
        with closing(sqlite3.connect(database)) as rows:
            return [number for (number,) in rows.execute("SELECT number FROM entries ORDER BY 1")]

    with Client(shop.url, token=token_of(seller)) as owner:
        event = owner.ticket_types.read(ticket_type)["event"]
        environment = {"SHOP_KEY": token_of(seller), "EVENTIFY_URL": shop.url}
        for expected in ([1, 2], [1, 2, 3]):
            with program(FOLLOW, tmp_path, event, **environment):
                owner.purchases.buy({ticket_type: 1})

                def all_are_stored(expected: list[int] = expected) -> None:
                    assert numbers() == expected

                eventually(all_are_stored, retry_on=(AssertionError, sqlite3.OperationalError))


def test_receive_a_webhook(shop: Shop, tmp_path: Path) -> None:
    seller, port = shop.user(), free_port()
    ticket_type = put_on_sale(seller, 10)
    database = tmp_path / "entries.db"
    with Client(shop.url, token=token_of(seller)) as owner:
        event = owner.ticket_types.read(ticket_type)["event"]
        body = {"url": f"http://127.0.0.1:{port}/", "event": event}
        secret = owner.raw.request("POST", "/api/webhooks/", json=body)["secret"]
        with program(RECEIVE, tmp_path, WEBHOOK_SECRET=secret, PORT=str(port)):
            bought = owner.purchases.buy({ticket_type: 1})

            def it_is_stored() -> None:
                with closing(sqlite3.connect(database)) as rows:
                    purchases = rows.execute(
                        "SELECT purchase FROM entries WHERE kind = 'confirmed'"
                    )
                    assert purchases.fetchall() == [(bought.id,)]

            eventually(it_is_stored, retry_on=(AssertionError, sqlite3.OperationalError))


def test_show_a_buyers_place_in_the_queue(shop: Shop, tmp_path: Path) -> None:
    ticket_type = put_on_sale(shop.user(), 10)
    environment = {"TOKEN": token_of(shop.user()), "EVENTIFY_URL": shop.url}
    with program(SHOW, tmp_path, ticket_type, **environment) as process:
        assert process.stdout is not None
        with sale_held(shop.database_url, ticket_type):
            assert process.stdout.readline() == "0 ahead of you\n"
        assert process.stdout.read().splitlines()[-1] == "confirmed"
    assert not (tmp_path / "purchase.key").exists()
