"""Races of payments against the end of their holds, while faults strike.

Every purchase of a round is paid for at the provider, and its shop confirms it at about the moment
at which its hold ends, and again until it knows: the buyer has his tickets, or his money back.
"""

import asyncio
import random
import time
from collections import Counter as Count
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import msgspec

from loadtests.answers import ClientResponse
from loadtests.client import ClientConnection
from tests.chaos.buyers import ANSWER_SECONDS, ASK_AGAIN_SECONDS
from tests.chaos.checker import Violation
from tests.chaos.evidence import database_now, replay
from tests.chaos.faults.fault import Fault
from tests.chaos.round import RECOVERS_WITHIN_SECONDS, Result
from tests.chaos.subject import Subject
from tests.support.factories import TOTAL, add_event, add_ticket_type, queue_buy, rows
from tests.support.waiting import eventually
from tests.system.selling import PURCHASES

RACES = 125
# Shorter than a ticket type may have: these are put into the table as if accepted. They end on
# several seconds, so that some race before, some beside, and some after the fault.
HOLD_SECONDS = (3, 4, 5, 6)
AROUND_THE_END_SECONDS = 0.3
# Less than the time over which they end.
FAULT_SECONDS_MAX = 2.0
CONFIRMS_TWICE = 0.2
KEPT, GIVEN_BACK = "confirmed", "expired"
PAYMENT_PROMISE = "charged, then sold or told to give back"
FOUND_OUT = "found out later"
HELD = f"""
SELECT p.id::text, ({TOTAL})::text, h.ends_at FROM holds h JOIN requests p ON p.id = h.purchase_id
WHERE h.event_id = :event
"""
# Of each purchase its newest entry, and the payment that it was confirmed by.
ENDS = """
SELECT p.id::text, e.kind::text, c.payment_reference
FROM requests p
LEFT JOIN LATERAL (SELECT kind, command_id FROM ledger
                   WHERE event_id = p.event_id AND (purchase_id = p.id OR command_id = p.id)
                   ORDER BY number DESC LIMIT 1) e ON true
LEFT JOIN requests c ON c.id = e.command_id AND c.kind = 'confirm'
WHERE p.event_id = :event AND p.kind = 'buy'
"""


class _Body(msgspec.Struct):
    code: str | None = None


class _Shop:
    """What the shop was told of each purchase; more than one thing is a violation.

    `answers`: how often each was given. `found_out`: confirmations whose outcome was unknown after
    their first request, and known in the end.
    """

    def __init__(self, system: Subject, token: str, chance: random.Random) -> None:
        self._url = system.gateway_urls[0]
        self._token = token
        self._chance = chance
        self.told: dict[str, set[str]] = {}
        self.answers: Count[str] = Count()
        self.found_out = 0

    async def confirm(self, id_: str, amount: str, seconds: float, deadline: float) -> None:
        self.told[id_] = set()
        await asyncio.sleep(
            seconds + self._chance.uniform(-AROUND_THE_END_SECONDS, AROUND_THE_END_SECONDS)
        )
        twice = 2 if self._chance.random() < CONFIRMS_TWICE else 1
        await asyncio.gather(*(self._ask_until_told(id_, amount, deadline) for _ in range(twice)))

    async def _ask_until_told(self, id_: str, amount: str, deadline: float) -> None:
        body = {"payment_reference": reference(id_), "amount": amount, "currency": "EUR"}
        headers = {"Idempotency-Key": f'"{uuid4()}"', "Prefer": "wait=2"}
        connection = ClientConnection(self._url)
        asked = 0
        while time.monotonic() < deadline:
            answer = None
            with suppress(OSError):
                answer = await connection.request(
                    "POST",
                    f"{PURCHASES}{id_}/confirm/",
                    token=self._token,
                    headers=headers,
                    body=msgspec.json.encode(body),
                    timeout_seconds=ANSWER_SECONDS,
                )
            asked += 1
            code = _code(answer)
            self.answers[code] += 1
            if (told := _told(code)) is not None:
                self.told[id_].add(told)
                self.found_out += asked > 1
                break
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        connection.close()


def reference(purchase_id: str) -> str:
    return f"pay_{purchase_id}"


def _code(answer: ClientResponse | None) -> str:
    """The status of an answer, and the code of a problem."""
    if answer is None:
        return "none"
    code = msgspec.json.decode(answer.body, type=_Body).code
    return f"{answer.status} {code}" if code else str(answer.status)


def _told(code: str) -> str | None:
    """None: nothing yet."""
    if code == "none" or code.startswith(("202", "503")):
        return None
    return {"200": KEPT, "409 hold_expired": GIVEN_BACK}.get(code, code)


def hold_race(
    system: Subject,
    faults: Sequence[Fault],
    chance: random.Random,
    *,
    with_guards: bool = True,
    races: int = RACES,
    recovers_within_seconds: float = RECOVERS_WITHIN_SECONDS,
) -> Result:
    """Hold a round of races in which these faults strike; the system is well when it returns.

    Arguments as for `hold_round`; `races`: how many purchases.
    """
    before = [fault.strikes for fault in faults]
    for fault in faults:
        fault.prepare()
    owner_id, token = chance.choice(sorted(system.tokens.items()))
    event = add_event(system.engine, owner_id)
    ticket_type = add_ticket_type(system.engine, races, event_id=event)
    for _ in range(races):
        queue_buy(
            system.engine,
            [(ticket_type, 1)],
            hold_seconds=chance.choice(HOLD_SECONDS),
            user_id=owner_id,
        )

    def all_held() -> list[tuple[str, str, datetime]]:
        held = rows(system.engine, HELD, event=event)
        assert len(held) == races
        return [(id_, amount, ends_at) for id_, amount, ends_at in held]

    held = eventually(all_held, within_seconds=recovers_within_seconds)
    shop = _Shop(system, token, chance)
    recovered = asyncio.run(_race(system, faults, shop, held, recovers_within_seconds))
    system.wait_until_all_run()
    ends = {id_: (kind, paid_by) for id_, kind, paid_by in rows(system.engine, ENDS, event=event)}
    violations = check_payments(shop.told, ends)
    violations += [
        Violation("the replay", line) for line in replay(system, with_guards=with_guards)
    ]
    return Result(
        faults=[type(fault).__name__ for fault in faults],
        strikes=[fault.strikes - n for fault, n in zip(faults, before, strict=True)],
        violations=violations,
        purchases=races,
        recovered_seconds=recovered,
        fates=Count(str(kind) for kind, _ in ends.values()),
        answers=shop.answers + Count({FOUND_OUT: shop.found_out}),
    )


async def _race(
    system: Subject,
    faults: Sequence[Fault],
    shop: _Shop,
    held: Sequence[tuple[str, str, datetime]],
    recovers_within_seconds: float,
) -> float:
    """From the healing on, until the shop knows what became of every payment, in seconds."""
    now = await asyncio.to_thread(database_now, system)
    until = {id_: (ends_at - now).total_seconds() for id_, _, ends_at in held}
    # Long enough for a fault that waits for its moment; who gives up by then is not told.
    deadline = time.monotonic() + max(until.values()) + 6 * recovers_within_seconds
    confirming = asyncio.gather(
        *(shop.confirm(id_, amount, until[id_], deadline) for id_, amount, _ in held)
    )
    try:
        await asyncio.sleep(min(until.values()) - AROUND_THE_END_SECONDS)
        for fault in sorted(faults, key=lambda fault: fault.turn):
            await asyncio.to_thread(fault.strike)
        lasts = max((fault.hold_seconds for fault in faults), default=0.0)
        await asyncio.sleep(min(lasts, FAULT_SECONDS_MAX))
    finally:
        for fault in faults:
            await asyncio.to_thread(fault.heal)
    healed_at = time.monotonic()
    await confirming
    return max(time.monotonic() - healed_at, 0.0)


def check_payments(
    told: dict[str, set[str]], ends: dict[str, tuple[str | None, str | None]]
) -> list[Violation]:
    """Whoever paid has his tickets, or the shop was told to give his money back. Pure."""
    violations = []
    for id_, answers in told.items():
        kind, paid_by = ends.get(id_, (None, None))
        kept = kind == KEPT and paid_by == reference(id_)
        if answers != {KEPT if kept else GIVEN_BACK} or not (kept or kind == GIVEN_BACK):
            detail = f"{id_} is {kind} by {paid_by}; the shop was told {sorted(answers)}"
            violations.append(Violation(PAYMENT_PROMISE, detail))
    return violations
