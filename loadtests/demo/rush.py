"""The buyers: each has a moment at which it presses the button, and stays until it knows."""

import asyncio
import gc
import resource
import time
from collections.abc import Callable, Sequence

import msgspec
import uvloop

from loadtests.client import Connection
from loadtests.demo.sale import Bought, Outcome, Sale, Wish
from shared.web.server import raise_open_files_limit

PURCHASES = "/api/ticket-purchases/"
# Held open for each buyer's decision; a gateway lets no client wait longer.
WAIT_SECONDS = 30
# A buyer whose request was refused for now comes back so often, with the same key.
RETRIES = 40
RETRY_SECONDS = 0.25
# To set up one waiting buyer; ten times what it takes.
GATHERING_SECONDS = 0.0002
# Files that this process needs for other things than connections.
SPARE_FILES = 64
# Buyers that are connected at the same time at the most: each costs both ends a socket.
CONNECTIONS_MAX = 5_000


class Buyer(msgspec.Struct, frozen=True):
    name: int
    token: str
    wish: Wish


class _Refusal(msgspec.Struct):
    """What a buyer reads in a problem; `id`: of the purchase, where one was stored."""

    code: str = ""
    id: str | None = None


class _Purchase(msgspec.Struct):
    status: str


def rush(
    base_url: str,
    ticket_type_id: int,
    buyers: Sequence[Buyer],
    sale: Sale,
    opens: Callable[[], None],
) -> None:
    """Let all buyers buy; each one's story is added to the sale when it is over.

    Args:
        base_url: the gateway's.
        ticket_type_id: what they want.
        buyers: the crowd.
        sale: where the stories go.
        opens: called when the crowd has gathered and the sale begins.
    """
    gc.freeze()  # thousands of waiting buyers need not be looked through for garbage
    uvloop.run(_rush(base_url, ticket_type_id, buyers, sale, opens))


async def _rush(
    base_url: str,
    ticket_type_id: int,
    buyers: Sequence[Buyer],
    sale: Sale,
    opens: Callable[[], None],
) -> None:
    seats = asyncio.Semaphore(_connections())
    # The sale opens when the crowd stands at the door: gathering it is not the gateway's time.
    opened = time.monotonic() + GATHERING_SECONDS * len(buyers)

    async def attend(buyer: Buyer) -> None:
        await asyncio.sleep(opened + buyer.wish.presses_at - time.monotonic())
        async with seats:
            outcome, retries = await _buy(Connection(base_url), ticket_type_id, buyer)
        answered_at = time.monotonic() - opened
        wish = buyer.wish
        sale.bought.append(Bought(wish.presses_at, answered_at, outcome, wish.quantity, retries))

    async with asyncio.TaskGroup() as crowd:
        for buyer in buyers:
            crowd.create_task(attend(buyer))
        await asyncio.sleep(opened - time.monotonic())
        opens()


async def _buy(connection: Connection, ticket_type_id: int, buyer: Buyer) -> tuple[Outcome, int]:
    """Ask until the outcome is known; returns it with how often the buyer had to ask again."""
    try:
        for retries in range(RETRIES + 1):
            outcome = await _ask(connection, ticket_type_id, buyer)
            if outcome is not None:
                return outcome, retries
            await asyncio.sleep(RETRY_SECONDS)
        return Outcome.FAILED, RETRIES
    finally:
        connection.close()


async def _ask(connection: Connection, ticket_type_id: int, buyer: Buyer) -> Outcome | None:
    """One attempt; None means: not known yet, ask again with the same key."""
    headers = {
        "Idempotency-Key": f'"demo-{ticket_type_id}-{buyer.name}"',
        "Prefer": f"wait={WAIT_SECONDS}",
    }
    body = msgspec.json.encode({"ticket_type": ticket_type_id, "quantity": buyer.wish.quantity})
    try:
        answer = await connection.request(
            "POST", PURCHASES, token=buyer.token, headers=headers, body=body
        )
    except OSError:
        return None
    match answer.status:
        case 201 | 202:
            status = msgspec.json.decode(answer.body, type=_Purchase).status
            return None if status == "queued" else Outcome(status)
        case 400:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
            if refusal.code == "not_enough_tickets" and refusal.id is None:
                return Outcome.SOLD_OUT
            return Outcome.REJECTED if refusal.id is not None else Outcome.FAILED
        case 429 | 503:
            return None
    return Outcome.FAILED


def _connections() -> int:
    """As many as this process may open, up to what makes sense."""
    hard = raise_open_files_limit()
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, hard - SPARE_FILES))
