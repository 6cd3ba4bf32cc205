"""What a buyer does: buys, waits in one of four ways, pays or does not, and may cancel."""

import asyncio
import time
from uuid import uuid4

import msgspec

from loadtests.answers import AnswerBody, ClientResponse, Meaning
from loadtests.selling import PURCHASES, choose, purchase_body
from loadtests.soak.load.plan import DECIDED_WAIT_SECONDS, OUTSTANDING_SECONDS
from loadtests.soak.load.world import OpenSale, World, guarded
from shared.purchases import CONFIRMED, HELD

# Shares are choices of ours, so that each kind is there at any time.
BY_KEY = 0.1
BUYERS_OF_KEY = 50_000
WAYS = {"wait": 35, "long poll": 30, "poll": 20, "stream": 15}
# Of held purchases; the rest expire.
PAID, RELEASED = 0.75, 0.15
PAYING_SECONDS = (0.5, 3.0)
CANCELLED = 0.05
# A stream that its reader leaves at once.
LEFT_EARLY = 0.3
ACCEPTED = (201, 202, 400)
# Of the last answer to a buyer who waited: an error of the run.
UNDECIDED = (Meaning.QUEUED, Meaning.RETRY_LATER)
NOT_DECIDED = "not decided"


async def buy(world: World, intended_at: float) -> None:
    """One purchase, from the moment that was fixed for it.

    Raises:
        OSError: no connection, or no answer.
    """
    sale = world.any_sale()
    way = world.chance.choices(list(WAYS), list(WAYS.values()))[0]
    token, body = _who(world), purchase_body(choose(sale.ticket_types, world.chance))
    if token == world.plan.key:
        buyer = f"customer-{world.chance.randrange(BUYERS_OF_KEY)}"
        body = body[:-1] + b',"buyer":' + msgspec.json.encode(buyer) + b"}"
    headers = {"Idempotency-Key": f'"{uuid4()}"'}
    if way == "wait":
        headers["Prefer"] = f"wait={DECIDED_WAIT_SECONDS}"
    answer = await world.api.ask(
        "buy", "POST", PURCHASES, token=token, body=body, headers=headers, expected=ACCEPTED
    )
    _note(world, sale, answer)
    if answer.meaning is Meaning.QUEUED and answer.purchase_id is not None:
        world.tally.accepted(intended_at)
        answer = await _follow(world, way, answer, token, intended_at)
    elif answer.meaning is Meaning.DECIDED and way == "wait":
        world.tally.decided(intended_at)
    if answer.meaning is Meaning.DECIDED:
        await _settle(world, answer.read(), token)


def _who(world: World) -> str:
    return world.plan.key if world.by_chance(BY_KEY) else world.any_token()


def _note(world: World, sale: OpenSale, answer: ClientResponse) -> None:
    """How the purchase was answered, and whether the sale is over."""
    world.tally.answered(answer.status)
    problem = answer.read() if answer.status == 400 else None
    if answer.meaning is Meaning.SOLD_OUT or (problem and problem.code == "not_enough_tickets"):
        world.sold_out(sale)
    if problem and problem.code == "sale_paused":
        world.tally.count("sale paused")
    elif answer.status == 400 and answer.meaning in (Meaning.FAILED, Meaning.RETRY_LATER):
        world.tally.error("buy: 400", answer.body.decode(errors="replace"))
    else:
        world.tally.count(answer.meaning)


async def _follow(
    world: World, way: str, answer: ClientResponse, token: str, intended_at: float
) -> ClientResponse:
    """Until the decision, as this buyer waits; returns the last answer."""
    path = f"{PURCHASES}{answer.purchase_id}/"
    has_outcome = False
    if way == "stream":
        early = world.by_chance(LEFT_EARLY)
        mark = b"event: " if early else b"event: outcome"
        try:
            has_come = await world.api.stream(
                "stream", f"{path}events/", token, mark, DECIDED_WAIT_SECONDS
            )
        except TimeoutError:
            world.tally.error(NOT_DECIDED, f"by {way}")
            return answer
        has_outcome = has_come and not early
        if has_outcome:
            world.tally.decided(intended_at)
    answer = await _ask_until_decided(world, way, path, token, answer)
    if answer.meaning in UNDECIDED:
        world.tally.error(NOT_DECIDED, f"by {way}: {answer.status}")
    elif answer.meaning is Meaning.DECIDED and way != "poll" and not has_outcome:
        world.tally.decided(intended_at)
    return answer


async def _ask_until_decided(
    world: World, way: str, path: str, token: str, answer: ClientResponse
) -> ClientResponse:
    """Polls, or long polls, until the buyer's time is over; returns the last answer."""
    ends_at = time.monotonic() + DECIDED_WAIT_SECONDS
    if way == "poll":
        await asyncio.sleep(min(_pause_seconds(answer), DECIDED_WAIT_SECONDS))
    while True:
        left = max(0.0, ends_at - time.monotonic())
        what, query = ("poll", "") if way == "poll" else ("long poll", f"?wait={round(left)}")
        answer = await world.api.ask(what, "GET", f"{path}{query}", token=token)
        left = ends_at - time.monotonic()
        if answer.meaning not in UNDECIDED or left <= 0:
            return answer
        await asyncio.sleep(min(_pause_seconds(answer), left))


def _pause_seconds(answer: ClientResponse) -> float:
    return answer.retry_after_seconds or 1.0


async def _settle(world: World, purchase: AnswerBody | None, token: str) -> None:
    if purchase is None or purchase.id is None:
        return
    path = f"{PURCHASES}{purchase.id}/"
    if purchase.status == HELD:
        way = world.chance.random()
        if way < PAID:
            await asyncio.sleep(world.chance.uniform(*PAYING_SECONDS))
            terms = {"amount": purchase.total_price, "currency": purchase.currency}
            body = msgspec.json.encode({"payment_reference": f"pay_{uuid4()}"} | terms)
            if not await _resolve(world, "confirm", path, world.plan.key, body):
                return
        elif way < PAID + RELEASED:
            await _resolve(world, "release", path, token)
            return
        else:
            world.tally.count("left to expire")
            return
    is_sold = purchase.status in (HELD, CONFIRMED)  # held is paid by now
    if is_sold and world.by_chance(CANCELLED):
        body = msgspec.json.encode({"note": "refund"})
        await _resolve(world, "cancel", path, world.plan.key, body)


async def _resolve(world: World, what: str, path: str, token: str, body: bytes = b"") -> bool:
    """Whether it was done; a hold that is over is no error on a busy machine."""
    answer = await world.api.ask(
        what,
        "POST",
        f"{path}{what}/",
        token=token,
        body=body,
        headers={"Idempotency-Key": f'"{uuid4()}"'},
        expected=(200, 201, 409),
    )
    if answer.status != 409:
        world.tally.count(what)
    elif answer.meaning is Meaning.HOLD_OVER:
        world.tally.count("hold over")
    else:
        world.tally.error(f"{what}: 409", answer.body.decode(errors="replace"))
    return answer.status in (200, 201)


async def arrive(world: World, moments: list[float], began_at: float, most: int) -> None:
    """A buyer at each of these moments; `most` of them at once, or the system is stuck."""
    buying: set[asyncio.Task[None]] = set()
    for moment in moments:
        if (early := began_at + moment - time.monotonic()) > 0:
            await asyncio.sleep(early)
        if len(buying) >= most:
            world.tally.error("buyers that could not come", "too many are still waiting")
            continue
        task = asyncio.create_task(guarded(world, "buyer", buy(world, began_at + moment)))
        buying.add(task)
        task.add_done_callback(buying.discard)
    if buying:
        await asyncio.wait(buying, timeout=OUTSTANDING_SECONDS)
