"""A shop that sells tickets for money, and loses neither when it is killed (docs/payments.md).

python3 shop.py buy ORDER BUYER TICKET_TYPE QUANTITY [--capture-first]
python3 shop.py resume
"""

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException
from typing import Any

EVENTIFY_URL = os.environ.get("SHOP_EVENTIFY_URL", "http://localhost:8000")
PROVIDER_URL = os.environ.get("SHOP_PROVIDER_URL", "http://localhost:9000")
DATABASE = os.environ.get("SHOP_DATABASE", "shop.sqlite3")
EVENTIFY_TIMEOUT_SECONDS = 40.0  # longer than the wait that is asked for
PROVIDER_TIMEOUT_SECONDS = float(os.environ.get("SHOP_PROVIDER_TIMEOUT_SECONDS", "20"))
GIVE_UP_SECONDS = float(os.environ.get("SHOP_GIVE_UP_SECONDS", "120"))
SCHEMA = """CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, buyer TEXT, ticket_type INTEGER, quantity INTEGER, capture_first INTEGER,
    idempotency_key TEXT, payment TEXT UNIQUE, state TEXT DEFAULT 'new',
    purchase TEXT, amount TEXT, currency TEXT, why TEXT)"""
INSERT = """INSERT OR IGNORE INTO orders
    (id, buyer, ticket_type, quantity, capture_first, idempotency_key, payment)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
MISTAKES = ("invalid", "malformed_body")  # of the shop: a person has to mend them
Order = dict[str, Any]
Answer = tuple[int, Any]


class Undecided(Exception):
    """The order stays where it is: `resume` continues when the cause is mended."""


def post(url: str, body: object, headers: dict[str, str], timeout: float, *finals: int) -> Answer:
    """One of the final answers. It is asked for until it comes: all here is safe to repeat."""
    deadline, pause = time.monotonic() + GIVE_UP_SECONDS, 0.01
    while True:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        status, answer, retry_after = 0, {}, None
        try:
            try:
                response = urllib.request.urlopen(request, timeout=timeout)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                retry_after, content = response.headers["Retry-After"], response.read()
                status, answer = response.status, json.loads(content)
        except (OSError, HTTPException, ValueError):
            status = 0  # no answer that can be read: it may have been done
        undecided = status in (0, 202, 408, 429) or status >= 500
        if not undecided and answer.get("code") != "not_decided":
            if status not in finals or answer.get("code") in MISTAKES:
                raise Undecided(f"{url}: {status} {answer}")
            return status, answer
        pause = min(2 * pause, 10)
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else pause
        if time.monotonic() + seconds > deadline:
            raise Undecided(f"{url}: {status}")
        time.sleep(seconds)


def ask_eventify(order: Order, action: str, body: object, *finals: int) -> Answer:
    path = f"{order['purchase']}/{action}/" if order["purchase"] else ""
    headers = {
        "Authorization": f"Bearer {os.environ['SHOP_KEY']}",
        "Idempotency-Key": f"{order['idempotency_key']}-{action}",
        "Prefer": "wait=20",
    }
    url = f"{EVENTIFY_URL}/api/ticket-purchases/{path}"
    return post(url, body, headers, EVENTIFY_TIMEOUT_SECONDS, *finals)


def ask_provider(order: Order, action: str, *finals: int) -> int:
    url = f"{PROVIDER_URL}/payments/{order['payment']}/{action}"
    body = {"amount": order["amount"], "currency": order["currency"]}
    return post(url, body, {}, PROVIDER_TIMEOUT_SECONDS, *finals)[0]


# Each step may be repeated, and returns what to store: the next state, and what was learnt.
def buy(order: Order) -> Order:
    body = {name: order[name] for name in ("ticket_type", "quantity", "buyer")}
    status, answer = ask_eventify(order, "buy", body, 201, 400)
    if status == 400:
        return {"state": "not_sold", "why": answer["code"]}
    # Confirmed: nothing is paid without `hold_seconds`; or another process was faster.
    paid_by = {None: "unpaid", order["payment"]: "paid"}.get(answer.get("payment_reference"))
    state = {"held": "held", "confirmed": paid_by}.get(answer["status"]) or "not_sold"
    learnt = {"purchase": answer["id"], "amount": answer["total_price"], "state": state}
    return {**learnt, "currency": answer["currency"], "why": answer["status"]}


def pay(order: Order) -> Order:
    status = ask_provider(order, "charge" if order["capture_first"] else "authorize", 200, 402, 409)
    return {"state": "paid"} if status == 200 else {"state": "declined", "why": "declined"}


def release(order: Order) -> Order:
    ask_eventify(order, "release", {}, 200, 409)  # 409: it has expired
    return {"state": "not_sold"}


def confirm(order: Order) -> Order:
    body = {"payment_reference": order["payment"], **{n: order[n] for n in ("amount", "currency")}}
    status, answer = ask_eventify(order, "confirm", body, 200, 409)
    if status == 409:
        # It is still held if another system of the owner has the reference: no order here has.
        ask_eventify(order, "release", {}, 200, 409)
        return {"state": "give_back", "why": answer["code"]}
    if answer["cancelled_quantity"]:  # by a person, meanwhile: the rest is, too
        return {"state": "unpaid"}
    return {"state": "sold" if order["capture_first"] else "confirmed", "why": None}


def capture(order: Order) -> Order:
    learnt = confirm(order)  # which may have been long ago
    if learnt["state"] != "confirmed":
        return learnt
    captured = ask_provider(order, "capture", 200, 402, 409) == 200
    return {"state": "sold" if captured else "unpaid"}


def cancel(order: Order) -> Order:
    # Again for what is left if another one was decided just before. 409: all is cancelled.
    for key in (order["idempotency_key"], f"{order['idempotency_key']}-rest"):
        ask_eventify({**order, "idempotency_key": key}, "cancel", {"note": "Not paid"}, 201, 409)
    return {"state": "give_back", "why": "unpaid"}


def give_back(order: Order) -> Order:
    for action in ("void", "refund"):  # 409: there is nothing to give back in this way
        ask_provider(order, action, 200, 409)
    return {"state": "not_sold"}


STEPS: dict[str, Callable[[Order], Order]] = {"new": buy, "held": pay, "declined": release}
STEPS |= {"paid": confirm, "confirmed": capture, "unpaid": cancel, "give_back": give_back}


def proceed(database: sqlite3.Connection, id_: str) -> Order:
    """Take an order to its end, `sold` or `not_sold`, from wherever it is."""
    while True:
        order = dict(database.execute("SELECT * FROM orders WHERE id = ?", (id_,)).fetchone())
        if order["state"] not in STEPS:
            return order
        learnt = STEPS[order["state"]](order)
        # If another process has taken this step meanwhile, its answer counts.
        assignments = ", ".join(f"{name} = ?" for name in learnt)
        update = f"UPDATE orders SET {assignments} WHERE id = ? AND state = ?"
        database.execute(update, (*learnt.values(), id_, order["state"]))


def main(command: str, *arguments: str) -> None:
    with closing(sqlite3.connect(DATABASE, timeout=30, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        database.execute(SCHEMA)
        if command == "buy":
            id_, buyer, ticket_type, quantity, *capture_first = arguments
            key, payment = str(uuid.uuid4()), f"pay_{uuid.uuid4()}"
            values = (id_, buyer, ticket_type, quantity, bool(capture_first), key, payment)
            database.execute(INSERT, values)
            ids = [id_]
        else:
            unfinished = "SELECT id FROM orders WHERE state NOT IN ('sold', 'not_sold')"
            ids = [row["id"] for row in database.execute(unfinished).fetchall()]
        for id_ in ids:
            try:
                order = proceed(database, id_)
                print(id_, order["state"], order["why"] or "", flush=True)
            except Undecided as error:
                print(id_, "undecided", error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
