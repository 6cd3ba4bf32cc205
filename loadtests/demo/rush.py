"""The buyers: each presses the button at its moment, and stays until it knows the outcome."""

import asyncio
import gc
import random
import resource
import time
from collections.abc import Sequence

import msgspec
import uvloop

from loadtests.answers import Line, Meaning
from loadtests.client import ClientConnection
from loadtests.demo.sale import BuyerOutcome, BuyerResult, DemoSale
from loadtests.selling import PURCHASES, choose, purchase_body
from shared.web.server import raise_open_files_limit

# Held open for each buyer's decision; a gateway lets no client wait longer.
WAIT_SECONDS = 30
# With the same key, where the outcome is not known yet.
RETRIES = 40
RETRY_SECONDS = 0.25
# To set up one waiting buyer; ten times what it takes.
GATHERING_SECONDS = 0.0002
# Files that this process needs for other things than connections.
SPARE_FILES = 64
# Buyers that are connected at the same time at the most: each costs both ends a socket.
CONNECTIONS_MAX = 5_000


class DemoBuyer(msgspec.Struct, frozen=True):
    """`presses_at`: in seconds after the sale opens."""

    number: int
    token: str
    lines: list[Line]
    presses_at: float


def crowd(
    tokens: Sequence[str], ticket_types: Sequence[int], over_seconds: float, seed: int
) -> list[DemoBuyer]:
    """A buyer for each token; the same purchases and moments for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - a sale to show, not a secret
    return [
        DemoBuyer(number, token, choose(ticket_types, chance), chance.uniform(0, over_seconds))
        for number, token in enumerate(tokens)
    ]


def rush(base_url: str, buyers: Sequence[DemoBuyer], sale: DemoSale) -> None:
    """Let all buyers buy; adds each result to the sale as soon as it is known."""
    gc.freeze()  # thousands of waiting buyers need not be searched for garbage
    uvloop.run(_rush(base_url, buyers, sale))


async def _rush(base_url: str, buyers: Sequence[DemoBuyer], sale: DemoSale) -> None:
    seats = asyncio.Semaphore(_connections())
    # The sale opens when all buyers wait: setting them up is not the gateway's time.
    opened = time.monotonic() + GATHERING_SECONDS * len(buyers)

    async def attend(buyer: DemoBuyer) -> None:
        await asyncio.sleep(opened + buyer.presses_at - time.monotonic())
        async with seats:
            outcome, retries = await _buy(ClientConnection(base_url), buyer)
        answered_at = time.monotonic() - opened
        quantity = sum(line.quantity for line in buyer.lines)
        result = BuyerResult(buyer.presses_at, answered_at, outcome, quantity, retries)
        sale.results.append(result)

    async with asyncio.TaskGroup() as group:
        for buyer in buyers:
            group.create_task(attend(buyer))
        await asyncio.sleep(opened - time.monotonic())
        sale.opened_at = opened


async def _buy(connection: ClientConnection, buyer: DemoBuyer) -> tuple[BuyerOutcome, int]:
    """The outcome, and how often the buyer had to ask again for it."""
    try:
        for retries in range(RETRIES + 1):
            outcome = await _ask(connection, buyer)
            if outcome is not None:
                return outcome, retries
            await asyncio.sleep(RETRY_SECONDS)
        return BuyerOutcome.FAILED, RETRIES
    finally:
        connection.close()


async def _ask(connection: ClientConnection, buyer: DemoBuyer) -> BuyerOutcome | None:
    """One attempt; None: not known yet, ask again with the same key."""
    headers = {
        "Idempotency-Key": f'"demo-{buyer.number}"',
        "Prefer": f"wait={WAIT_SECONDS}",
    }
    try:
        answer = await connection.request(
            "POST",
            PURCHASES,
            token=buyer.token,
            headers=headers,
            body=purchase_body(buyer.lines),
        )
    except OSError:
        return None
    match answer.meaning:
        case Meaning.DECIDED if answer.is_confirmed:
            return BuyerOutcome.CONFIRMED
        case Meaning.DECIDED:
            return BuyerOutcome.REJECTED
        case Meaning.SOLD_OUT:
            return BuyerOutcome.SOLD_OUT
        case Meaning.QUEUED | Meaning.RETRY_LATER:
            return None
    return BuyerOutcome.FAILED


def _connections() -> int:
    """As many as this process may open, up to what makes sense."""
    hard = raise_open_files_limit()
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, hard - SPARE_FILES))
