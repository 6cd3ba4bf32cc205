"""The page on which buyers pay for what they hold: an event's `payment_url` (docs/payments.md).

python3 checkout.py 9001
"""

import json
import os
import sqlite3
import sys
import urllib.error
import urllib.request
import uuid
from contextlib import closing, suppress
from html import escape
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import shop

# Where buyers see Eventify, if this server reaches it at another address.
PAGES_URL = os.environ.get("SHOP_PAGES_URL", shop.EVENTIFY_URL)
# The tickets are on hold already, so the order begins with the payment.
INSERT = """INSERT OR IGNORE INTO orders
    (id, capture_first, idempotency_key, payment, state, purchase, amount, currency)
    VALUES (:id, FALSE, :id, 'pay_' || :id, 'held', :id, :total_price, :currency)"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
  :root {{ color-scheme: light dark; font: 1.125rem/1.5 system-ui, sans-serif; }}
  main {{ display: grid; gap: 1rem; max-width: 26rem; margin: 10vh auto; padding: 0 1.25rem; }}
  h1, p {{ margin: 0; overflow-wrap: anywhere; }}
  button {{ width: 100%; padding: 0.875rem; border: 0; border-radius: 0.625rem;
    background: #3450c4; color: #fff; font: inherit; font-weight: 600; cursor: pointer; }}
</style>
<main><h1>{heading}</h1>{content}</main>
</html>
"""
BUTTON = '<form method="post"><button>Pay {amount}</button></form>'
NUMBER = "<p>Purchase number {id}</p>"
BACK = '<p><a href="{address}">Back to the event</a></p>'


def read_purchase(id_: str) -> shop.Order | None:
    """None: there is none of the key's owner, or it cannot be read."""
    with suppress(ValueError, OSError, HTTPException):
        headers = {"Authorization": f"Bearer {os.environ['SHOP_KEY']}"}
        url = f"{shop.EVENTIFY_URL}/api/ticket-purchases/{uuid.UUID(id_)}/"
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=shop.EVENTIFY_TIMEOUT_SECONDS) as response:
            purchase: shop.Order = json.load(response)
            return purchase
    return None


def pay(purchase: shop.Order) -> None:
    """Store the order, and take it to its end; `shop.py resume` goes on where that fails."""
    with closing(sqlite3.connect(shop.DATABASE, timeout=30, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        database.execute(shop.SCHEMA)
        database.execute(INSERT, purchase)
        with suppress(shop.Undecided):
            shop.proceed(database, purchase["id"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        purchase = self._purchase()
        if purchase is None:
            self._show(404, "There is nothing to pay here", "")
            return
        content = NUMBER.format_map(purchase)
        if purchase["status"] == "held":
            heading = "Pay for your tickets"
            content += BUTTON.format(amount=f"{purchase['total_price']} {purchase['currency']}")
        else:
            heading = f"These tickets are {purchase['status']}"
        self._show(200, heading, content + BACK.format(address=escape(_event_page(purchase))))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        purchase = self._purchase()
        if purchase is None:
            self._show(404, "There is nothing to pay here", "")
            return
        if purchase["status"] == "held":
            pay(purchase)
        self.send_response(303)
        self.send_header("Location", _event_page(purchase))
        self.end_headers()

    def _purchase(self) -> shop.Order | None:
        names = parse_qs(urlsplit(self.path).query)
        return read_purchase(names.get("purchase", [""])[0])

    def _show(self, status: int, heading: str, content: str) -> None:
        body = PAGE.format(heading=escape(heading), content=content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _event_page(purchase: shop.Order) -> str:
    return f"{PAGES_URL}/events/{purchase['event']}/"


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
