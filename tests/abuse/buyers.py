"""Ten buyers at a fixed pace, and bystanders who do all the rest: what both are answered."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import msgspec

from loadtests.answers import ClientResponse
from loadtests.bench.load.latency import LatencySummary, latency
from loadtests.bench.load.loops import intended_moments
from loadtests.client import ClientConnection
from loadtests.selling import PURCHASES

# So far below the limit of one user (5 after a burst of 20) that chance brings nobody above it.
PURCHASES_PER_SECOND = 3.0
WAIT = {"Prefer": "wait=20"}
# Then it counts as not answered. Longer than any window.
ANSWER_SECONDS = 60.0
# How often each bystander comes; a password is hashed for each sign-in.
BYSTANDER_SECONDS = 0.5
SIGN_IN_SECONDS = 1.0
NO_ANSWER = "no answer"
# What each of them asks for he may have, and below every limit: any other answer is harm done.
DECIDED, READ = "201", "200"


@dataclass(slots=True)
class WindowAnswers:
    """What buyers and bystanders were answered in one window.

    `waits`: seconds from the moment at which a purchase was meant to be sent to its decision.
    `others`: answers to bystanders, by what they asked for. `accepted`: ids of purchases.
    """

    waits: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    others: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def latency(self) -> LatencySummary:
        return latency(self.waits)

    @property
    def failures_by(self) -> dict[str, int]:
        """Answers other than the one expected, and none at all, as `buy: 503`."""
        asked = [("buy", DECIDED, self.answers)]
        asked += [(what, READ, counts) for what, counts in self.others.items()]
        return {
            f"{what}: {status}": n
            for what, expected, counts in asked
            for status, n in counts.items()
            if status != expected
        }


class Crowd:
    """The connections of buyers and bystanders; one window after another.

    Args:
        url: of the gateway.
        ticket_type: on sale.
        tokens: one for each buyer.
        reads: what bystanders ask for, as paths by name, with the first buyer's token.
        accounts: names of bystanders who sign in, with their password.
        password: of all of them.
    """

    def __init__(
        self,
        url: str,
        ticket_type: int,
        tokens: Sequence[str],
        *,
        reads: Mapping[str, str],
        accounts: Sequence[str],
        password: str,
    ) -> None:
        self._url = url
        self._tokens = tokens
        self._body = json.dumps({"ticket_type": ticket_type, "quantity": 1}).encode()
        self._reads = reads
        self._accounts = accounts
        self._password = password
        self._windows = 0
        self._signs_in_at = 0.0

    def window(self, seconds: float) -> WindowAnswers:
        """Buy and look around for so long; returns when everybody is answered."""
        self._windows += 1
        return asyncio.run(self._window(seconds))

    async def _window(self, seconds: float) -> WindowAnswers:
        record = WindowAnswers()
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._tokens)):
                group.create_task(self._buyer(number, seconds, record))
            for name, path in self._reads.items():
                group.create_task(self._reader(name, path, seconds, record))
            if self._accounts:
                group.create_task(self._sign_in_again(seconds, record))
        return record

    async def _buyer(self, number: int, seconds: float, record: WindowAnswers) -> None:
        connection, token = ClientConnection(self._url), self._tokens[number]
        began_at = time.monotonic()
        seed = 1_000 * self._windows + number
        for moment in intended_moments(PURCHASES_PER_SECOND, seconds, seed):
            if (early := began_at + moment - time.monotonic()) > 0:
                await asyncio.sleep(early)
            status, id_ = await self._buy(connection, token)
            record.waits.append(time.monotonic() - began_at - moment)
            record.answers[status] += 1
            if id_ is not None:
                record.accepted.append(id_)
        connection.close()

    async def _reader(self, name: str, path: str, seconds: float, record: WindowAnswers) -> None:
        connection, ends_at = ClientConnection(self._url), time.monotonic() + seconds
        while time.monotonic() < ends_at:
            answer = await _ask(connection, "GET", path, self._tokens[0])
            record.others[name][_label(answer)] += 1
            await asyncio.sleep(BYSTANDER_SECONDS)
        connection.close()

    async def _sign_in_again(self, seconds: float, record: WindowAnswers) -> None:
        connection, ends_at = ClientConnection(self._url), time.monotonic() + seconds
        accounts = islice(cycle(self._accounts), self._windows, None)
        # Over all windows, however short: an address may sign in no more often.
        while (moment := max(self._signs_in_at, time.monotonic())) < ends_at:
            await asyncio.sleep(moment - time.monotonic())
            self._signs_in_at = moment + SIGN_IN_SECONDS
            credentials = {"username": next(accounts), "password": self._password}
            body = json.dumps(credentials).encode()
            answer = await _ask(connection, "POST", "/api/token/", "", body=body)
            record.others["sign in"][_label(answer)] += 1
        connection.close()

    async def _buy(self, connection: ClientConnection, token: str) -> tuple[str, str | None]:
        """The status of the decision, and the id of what was accepted."""
        answer = await _ask(connection, "POST", PURCHASES, token, WAIT, self._body)
        id_: str | None = json.loads(answer.body).get("id") if answer is not None else None
        while answer is not None and answer.status == 202:
            path = f"{PURCHASES}{id_}/?wait=20"
            answer = await _ask(connection, "GET", path, token)
            if answer is not None and answer.status == 200:
                queued = json.loads(answer.body)["status"] == "queued"
                answer = msgspec.structs.replace(answer, status=202 if queued else 201)
        return _label(answer), id_


async def _ask(
    connection: ClientConnection,
    method: str,
    path: str,
    token: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> ClientResponse | None:
    """None: no answer came."""
    try:
        return await connection.request(
            method, path, token=token, headers=headers, body=body, timeout_seconds=ANSWER_SECONDS
        )
    except (OSError, TimeoutError):
        return None


def _label(answer: ClientResponse | None) -> str:
    return str(answer.status) if answer is not None else NO_ANSWER
