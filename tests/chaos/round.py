"""A round: buyers buy, faults strike and are healed, all recovers, and everything is checked."""

import asyncio
import random
import time
from collections import Counter as Count
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Engine

from tests.chaos.buyers import BUYERS_AT_ONCE, Buyer
from tests.chaos.checker import Violation, check, goes_on, is_unavailable
from tests.chaos.evidence import database_now, gather, queued_now, workers_decide
from tests.chaos.faults.fault import Effect, Fault
from tests.chaos.history import Evidence, Fate, History, Window
from tests.chaos.pulse import feel_pulse
from tests.chaos.result_listener import ResultListener
from tests.chaos.subject import Subject
from tests.support.factories import add_event, add_ticket_type, run

# What was healed works again within this time (docs/faults.md).
RECOVERS_WITHIN_SECONDS = 10.0
# Purchases decided before the faults strike, so that they strike during a sale.
WARM_UP_PURCHASES = 20
WARM_UP_SECONDS = 60.0
LOOK_SECONDS = 0.05
# A system that is broken on purpose is caught by then (docs/faults.md).
CAUGHT_WITHIN_ROUNDS = 20
# One event is sold out in the middle of a round, one is not, one has limits for each user, one is
# held for payment: for so long that no hold ends but as its buyer wants (payments.py has others).
FEW, MANY, LIMIT_OF_USER = 40, 100_000, 3
HOLD_SECONDS = 7_200


@dataclass(frozen=True, slots=True)
class Result:
    """`recovered_seconds`: from the healing on, until a new purchase was decided, and a worker
    decides and not the sweeper alone; None: never.

    What was killed is healed when its supervisor has started it again. `fates`: of purchases or
    requests. `answers`: to confirmations and releases, by status and code.
    """

    faults: list[str]
    strikes: list[int]
    violations: list[Violation]
    purchases: int
    recovered_seconds: float | None
    fates: Count[str] = field(default_factory=Count)
    answers: Count[str] = field(default_factory=Count)


@dataclass(frozen=True, slots=True)
class Caught:
    """In which round a broken system was found out, and by what; by nothing if it was not."""

    round: int
    violations: list[Violation]


def hold_round(
    system: Subject,
    faults: Sequence[Fault],
    chance: random.Random,
    *,
    with_guards: bool = True,
    recovers_within_seconds: float = RECOVERS_WITHIN_SECONDS,
) -> Result:
    """Hold a round in which these faults strike together; the system is well when it returns.

    Args:
        system: that runs and is well.
        faults: made for this system.
        chance: who buys what, and when.
        with_guards: whether the audit asks for the database's guards too.
        recovers_within_seconds: also how long sales may take to show that they go on.
    """
    before = [fault.strikes for fault in faults]
    for fault in faults:
        fault.prepare()
    if system.receiver is not None:
        system.receiver.requests.clear()  # of rounds before
    owner_id, shop_token = min(system.tokens.items())
    events = a_sale(system.engine, owner_id)
    history = History()
    with ResultListener(system, history).listening():
        sale = _Sale(
            system,
            faults,
            list(events.values()),
            shop_token,
            history,
            chance,
            recovers_within_seconds,
        )
        window, recovered_seconds, all_known = asyncio.run(sale.hold())
    system.wait_until_all_run()
    evidence = gather(system, list(events), history, with_guards=with_guards)
    violations = check(evidence) + _during(faults, evidence, window)
    if recovered_seconds is None or not all_known:
        violations.append(
            Violation(
                f"recovery within {recovers_within_seconds:.0f} s",
                f"a worker decided a new one after {recovered_seconds} s; all known: {all_known}",
            )
        )
    return Result(
        faults=[type(fault).__name__ for fault in faults],
        strikes=[fault.strikes - n for fault, n in zip(faults, before, strict=True)],
        violations=violations,
        purchases=len(evidence.rows),
        recovered_seconds=recovered_seconds,
        fates=Count(attempt.fate for attempt in history.attempts),
        answers=Count(f"{end.action} {end.status}" for end in history.hold_ends),
    )


def a_sale(engine: Engine, owner_id: int) -> dict[int, list[int]]:
    """The ticket types of new events; of those that are held, this user is the shop."""
    few, many, limited, held = (add_event(engine, owner_id) for _ in range(4))
    limit = "UPDATE events SET max_per_user = :most WHERE id = :id"
    run(engine, limit, most=2 * LIMIT_OF_USER, id=limited)
    return {
        few: [add_ticket_type(engine, FEW, event_id=few) for _ in range(2)],
        many: [add_ticket_type(engine, MANY, event_id=many)],
        limited: [
            add_ticket_type(engine, MANY, event_id=limited, max_per_user=LIMIT_OF_USER),
            add_ticket_type(engine, MANY, event_id=limited),
        ],
        held: [
            add_ticket_type(engine, capacity, event_id=held, hold_seconds=HOLD_SECONDS)
            for capacity in (FEW, MANY)
        ],
    }


class HoldRound(Protocol):
    """`hold_round`, or another kind of it."""

    def __call__(
        self,
        system: Subject,
        faults: Sequence[Fault],
        chance: random.Random,
        *,
        with_guards: bool = True,
    ) -> Result: ...


def caught_in_round(
    system: Subject, fault: Fault, chance: random.Random, hold: HoldRound = hold_round
) -> Caught:
    """Hold rounds of a system that is broken on purpose until one finds it out.

    Guards that are missing from the database do not count: what came of it must be found.
    """
    for number in range(1, CAUGHT_WITHIN_ROUNDS + 1):
        result = hold(system, [fault], chance, with_guards=False)
        if result.violations:
            return Caught(number, result.violations)
    return Caught(CAUGHT_WITHIN_ROUNDS, [])


def _during(faults: Sequence[Fault], evidence: Evidence, window: Window) -> list[Violation]:
    """What was promised for the time of the fault; two together may make anything of it."""
    if len(faults) > 1:
        return []
    match faults[0].effect:
        case Effect.GOES_ON:
            return goes_on(evidence, window)
        case Effect.UNAVAILABLE:
            return is_unavailable(evidence, window)
    return []


class _Sale:
    """The part of a round that happens in an event loop."""

    def __init__(
        self,
        system: Subject,
        faults: Sequence[Fault],
        events: Sequence[Sequence[int]],
        shop_token: str,
        history: History,
        chance: random.Random,
        recovers_within_seconds: float,
    ) -> None:
        self._system = system
        self._faults = sorted(faults, key=lambda fault: fault.turn)
        self._events = events
        self._history = history
        self._recovers_within_seconds = recovers_within_seconds
        users = chance.sample(sorted(system.tokens), BUYERS_AT_ONCE)
        self._buyers = [
            Buyer(system.gateway_urls, user_id, system.tokens[user_id], history, chance, shop_token)
            for user_id in users
        ]

    async def hold(self) -> tuple[Window, float | None, bool]:
        """When the faults lasted, how long recovery took, and whether all became known."""
        over = asyncio.Event()
        buying = [
            asyncio.create_task(buyer.buy_until(over, self._events)) for buyer in self._buyers
        ]
        buying.append(asyncio.create_task(feel_pulse(self._system.pulse_url, self._history, over)))
        try:
            await self._warm_up()
            window = await self._strike_and_heal()
            healed_at = time.monotonic()
            healed_time = await asyncio.to_thread(database_now, self._system)
            deadline = healed_at + self._recovers_within_seconds
            recovered = None
            while recovered is None and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
                if self._sells_since(healed_at) and await asyncio.to_thread(
                    workers_decide, self._system, healed_time
                ):
                    recovered = time.monotonic() - healed_at
        finally:
            over.set()
            await asyncio.gather(*buying)
        await asyncio.gather(*(buyer.find_out(deadline) for buyer in self._buyers))
        while await asyncio.to_thread(queued_now, self._system) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        for buyer in self._buyers:
            buyer.close()
        return window, recovered, all(buyer.knows_all for buyer in self._buyers)

    async def _warm_up(self) -> None:
        deadline = time.monotonic() + WARM_UP_SECONDS
        while len(self._history.sightings) < WARM_UP_PURCHASES:
            assert time.monotonic() < deadline, (
                f"no purchase was decided: {self._history.attempts[-3:]}"
            )
            await asyncio.sleep(LOOK_SECONDS)

    async def _strike_and_heal(self) -> Window:
        try:
            for fault in self._faults:
                await asyncio.to_thread(fault.strike)
            struck_at = time.monotonic()
            await asyncio.sleep(max((fault.hold_seconds for fault in self._faults), default=0.0))
            deadline = struck_at + self._recovers_within_seconds
            while not self._has_shown_its_effect(struck_at) and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
            window = Window(struck_at, time.monotonic())
        finally:
            for fault in self._faults:
                await asyncio.to_thread(fault.heal)
        await asyncio.to_thread(self._system.wait_until_all_are_started)
        return window

    def _has_shown_its_effect(self, struck_at: float) -> bool:
        """Whether there is something to check; a slow machine needs longer for it."""
        match [fault.effect for fault in self._faults]:
            case [Effect.GOES_ON]:
                return self._sells_since(struck_at)
            case [Effect.UNAVAILABLE]:
                sent_since = [a for a in self._history.attempts if a.sent_at > struck_at]
                return len(sent_since) >= BUYERS_AT_ONCE
        return True

    def _sells_since(self, moment: float) -> bool:
        """Whether a purchase that was asked for since then is decided."""
        seen = {sighting.purchase_id for sighting in self._history.sightings}
        return any(
            attempt.purchase_id in seen
            for attempt in self._history.attempts
            if attempt.sent_at > moment and attempt.fate is Fate.ACKNOWLEDGED
        )
