"""Buyers who record each request: acknowledged, error, unavailable, no answer."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import msgspec

from loadtests.answers import ClientResponse
from loadtests.client import ClientConnection
from tests.chaos.history import Attempt, Fate, History, HoldEnd, Lines, Outcome, Sighting
from tests.system.selling import PURCHASES

# The gateway answers within two seconds, and two more for those that wait for the decision; without
# an answer by then a buyer gives up.
ANSWER_SECONDS = 6.0
# Some 80 requests a second: enough to be in every window, and little enough for two cores on which
# other tests run.
BUYERS_AT_ONCE = 10
THINK_SECONDS = 0.08
# After no answer, or between two polls. Faster polls would take the cores from what is starting
# again.
ASK_AGAIN_SECONDS = 0.2
CLICKS_TWICE = 0.2
# Of purchases where there are several ticket types: a tenth of all.
BUYS_A_CART = 0.15
WAITS_FOR_DECISION = 0.3
RETRIES_AT_ONCE = 0.5
# With so many requests without an answer a buyer begins no other: after a minute without a system,
# as of `eventify down` and `up` on a slow machine, finding out about all would take long.
OPEN_MAX = 20
# Of what is held, how many are paid and how many released; some both at once, and others neither.
PAYS, RELEASES = 0.7, 0.3
# Decided purchases that a buyer reads once more in the end.
LOOKED_AT_AGAIN = 5


class _Body(msgspec.Struct):
    """What a buyer reads of an answer: of a purchase, or of a problem that names one."""

    id: str | None = None
    status: str | int | None = None
    reason: str | None = None
    decided_at: str | None = None
    total_price: str | None = None
    currency: str | None = None
    code: str | None = None


class _Request(msgspec.Struct, frozen=True):
    lines: Lines
    key: str

    @property
    def body(self) -> bytes:
        items = [{"ticket_type": id_, "quantity": quantity} for id_, quantity in self.lines]
        return msgspec.json.encode(items[0] if len(items) == 1 else {"items": items})


class Buyer:
    """One user on two connections; the second is for those who click twice.

    After a 503 or no answer a buyer retries at the next gateway with the same key, as behind a load
    balancer.
    """

    def __init__(
        self,
        gateway_urls: Sequence[str],
        user_id: int,
        token: str,
        history: History,
        chance: random.Random,
        shop_token: str = "",
    ) -> None:
        self._user_id = user_id
        self._token = token
        self._history = history
        self._chance = chance
        self._shop_token = shop_token
        self._gateways = [[ClientConnection(url) for _ in range(2)] for url in gateway_urls]
        self._gateway = chance.randrange(len(gateway_urls))
        # Neither acknowledged nor answered with a 4xx.
        self._open: dict[str, _Request] = {}
        self._undecided: set[str] = set()
        self._decided: list[str] = []
        # Of purchases by id and action: the body that ends their hold.
        self._ending: dict[tuple[str, str], dict[str, str | None]] = {}

    @property
    def knows_all(self) -> bool:
        """Whether every request has its answer, and every purchase its outcome."""
        return not self._open and not self._undecided and not self._ending

    async def buy_until(self, over: asyncio.Event, events: Sequence[Sequence[int]]) -> None:
        """Buy one thing after the other; `events`: the ticket types of each."""
        while not over.is_set():
            if len(self._open) < OPEN_MAX:
                await self._buy(_Request(self._choose(self._chance.choice(events)), uuid4().hex))
            else:
                await self._attempt(next(iter(self._open.values())), 0)
            await asyncio.sleep(self._chance.uniform(0, 2 * THINK_SECONDS))

    def _choose(self, ticket_type_ids: Sequence[int]) -> Lines:
        if len(ticket_type_ids) > 1 and self._chance.random() < BUYS_A_CART:
            wanted = self._chance.sample(ticket_type_ids, 2)
        else:
            wanted = [self._chance.choice(ticket_type_ids)]
        return [[id_, self._chance.choice((1, 1, 2, 3))] for id_ in wanted]

    async def find_out(self, deadline: float) -> None:
        """Ask about all that is open, until it is known or the time is over."""
        while not self.knows_all and time.monotonic() < deadline:
            for request in list(self._open.values()):
                await self._attempt(request, 0)
            for purchase_id in list(self._undecided):
                await self._look(purchase_id)
            await self._end_holds()
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        for purchase_id in self._decided[:LOOKED_AT_AGAIN]:
            await self._look(purchase_id)

    def close(self) -> None:
        for connections in self._gateways:
            for connection in connections:
                connection.close()

    async def _buy(self, request: _Request) -> None:
        self._open[request.key] = request
        clicks = 2 if self._chance.random() < CLICKS_TWICE else 1
        attempts = await asyncio.gather(*(self._attempt(request, n) for n in range(clicks)))
        if request.key in self._open:
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            if self._chance.random() < RETRIES_AT_ONCE:
                attempts.append(await self._attempt(request, 0))
        for purchase_id in {attempt.purchase_id for attempt in attempts} & self._undecided:
            await self._look(purchase_id)
        await self._end_holds()

    async def _attempt(self, request: _Request, connection: int) -> Attempt:
        """Send one request and write down what came of it."""
        request_id = uuid4().hex
        headers = {"X-Request-ID": request_id, "Idempotency-Key": f'"{request.key}"'}
        if self._chance.random() < WAITS_FOR_DECISION:
            headers["Prefer"] = "wait=2"
        sent_at = time.monotonic()
        answer = await self._ask("POST", PURCHASES, connection, headers, request.body)
        read = _read(answer)
        attempt = Attempt(
            request_id=request_id,
            user_id=self._user_id,
            lines=request.lines,
            key=request.key,
            sent_at=sent_at,
            answered_at=time.monotonic(),
            fate=_fate(answer, read),
            status=answer.status if answer is not None else None,
            purchase_id=read.id,
            code=read.code,
        )
        self._history.attempts.append(attempt)
        if attempt.fate in (Fate.ACKNOWLEDGED, Fate.ERROR):
            self._open.pop(request.key, None)
        if attempt.purchase_id is not None:
            self._note(attempt.purchase_id, read)
        return attempt

    async def _look(self, purchase_id: str | None) -> None:
        assert purchase_id is not None
        answer = await self._ask("GET", f"{PURCHASES}{purchase_id}/?wait=1", 0, {}, b"")
        if answer is not None and answer.status == 200:
            self._note(purchase_id, _read(answer))
        elif answer is not None and answer.status == 404:
            # It was acknowledged; the checker will miss its row.
            self._undecided.discard(purchase_id)

    async def _end_holds(self) -> None:
        """Confirm and release, once more what had no answer; a purchase's two at the same time."""
        await asyncio.gather(
            *(self._end_hold(*ending, nth) for nth, ending in enumerate(list(self._ending)[:2]))
        )

    async def _end_hold(self, purchase_id: str, action: str, connection: int) -> None:
        body = self._ending[purchase_id, action]
        answer = await self._ask(
            *("POST", f"{PURCHASES}{purchase_id}/{action}/", connection, {}),
            msgspec.json.encode(body),
            self._shop_token if action == "confirm" else self._token,
        )
        if answer is None or answer.status in (202, 503):
            return
        del self._ending[purchase_id, action]
        reference = body.get("payment_reference") or ""
        self._history.hold_ends.append(HoldEnd(purchase_id, action, reference, answer.status))

    def _plan_end(self, purchase_id: str, read: _Body) -> None:
        """Whether to pay what is held, to release it, both, or neither."""
        if self._chance.random() < PAYS:
            self._ending[purchase_id, "confirm"] = {
                "payment_reference": f"pay_{purchase_id}",
                "amount": read.total_price,
                "currency": read.currency,
            }
        if self._chance.random() < RELEASES:
            self._ending[purchase_id, "release"] = {}

    def _note(self, purchase_id: str, read: _Body) -> None:
        outcome = _outcome(read)
        if outcome is None:
            if purchase_id not in self._decided:
                self._undecided.add(purchase_id)
            return
        if outcome.status == "held" and purchase_id not in self._decided:
            self._plan_end(purchase_id, read)
        self._undecided.discard(purchase_id)
        self._decided.append(purchase_id)
        self._history.sightings.append(Sighting(purchase_id, outcome, time.monotonic()))

    async def _ask(
        self,
        method: str,
        path: str,
        connection: int,
        headers: dict[str, str],
        body: bytes,
        token: str = "",
    ) -> ClientResponse | None:
        """None: there was no answer. `token`: another user's."""
        gateway = self._gateway
        answer = None
        with suppress(OSError):  # TimeoutError is one
            answer = await self._gateways[gateway][connection].request(
                method,
                path,
                token=token or self._token,
                headers=headers,
                body=body,
                timeout_seconds=ANSWER_SECONDS,
            )
        if answer is None or answer.status == 503:
            self._gateway = (gateway + 1) % len(self._gateways)
        return answer


def _read(answer: ClientResponse | None) -> _Body:
    try:
        return msgspec.json.decode(answer.body, type=_Body) if answer is not None else _Body()
    except msgspec.DecodeError:
        return _Body()


def _fate(answer: ClientResponse | None, read: _Body) -> Fate:
    if answer is None:
        return Fate.UNKNOWN
    if answer.status == 503:
        return Fate.UNAVAILABLE
    if answer.status >= 500:
        return Fate.UNKNOWN
    return Fate.ACKNOWLEDGED if read.id is not None else Fate.ERROR


def _outcome(read: _Body) -> Outcome | None:
    """None: it is queued. A problem has its reason as its code."""
    if read.code is not None:
        return Outcome("rejected", read.code)
    if read.status == "queued" or not isinstance(read.status, str):
        return None
    return Outcome(read.status, read.reason, read.decided_at)
