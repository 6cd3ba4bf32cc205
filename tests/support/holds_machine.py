"""Holds, pays and takes back at random, beside a model that only counts."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from purchase_worker.decision import (
    Buy,
    Cancel,
    Command,
    Confirm,
    Expire,
    Extend,
    Issue,
    Line,
    Release,
)
from shared.purchases import CANCELLED, CONFIRMED, EXPIRED, HELD, REJECTED, RELEASED

STEP_SECONDS = 600
TICKETS = {1: 5, 2: 3}
Outcome = tuple[str, str | None]


class Lane(Protocol):
    """What is checked beside the model. Times are in steps."""

    def decide(self, commands: Sequence[Command]) -> list[Outcome]: ...

    def pass_time(self, steps: int) -> None: ...

    def counts(self) -> dict[int, tuple[int, int]]:
        """What is left and held of each ticket type."""
        ...

    def holds(self) -> set[str]:
        """The purchases that are held."""
        ...


class Bought(msgspec.Struct):
    """A purchase. `tickets`: those that its holder has, by type."""

    command: Buy
    tickets: Counter[int]
    status: str
    ends_at: int = 0


steps = st.integers(1, 3)
carts = st.dictionaries(st.sampled_from(list(TICKETS)), st.integers(1, 3), min_size=1)


class HoldsMachine(RuleBasedStateMachine):
    """Resolutions gather and are decided together, and purchases one at a time."""

    purchases = Bundle("purchases")

    def __init__(self, lane: Lane) -> None:
        super().__init__()
        self.lane = lane
        self.now = self.extended = self.ids = 0
        self.issued = Counter(TICKETS)
        self.bought: dict[str, Bought] = {}
        self.queued: list[Command] = []

    def new_id(self) -> str:
        self.ids += 1
        return str(self.ids)

    @rule(
        target=purchases,
        user=st.integers(1, 2),
        cart=carts,
        hold=st.none() | steps | steps,
        limit=st.none() | st.integers(1, 6),
    )
    def buy(self, user: int, cart: dict[int, int], hold: int | None, limit: int | None) -> str:
        self.decide_queued()
        lines = tuple(Line(id_, quantity) for id_, quantity in sorted(cart.items()))
        seconds = None if hold is None else hold * STEP_SECONDS
        command = Buy(self.new_id(), user, lines, limit, seconds)
        self.queued.append(command)
        self.decide_queued()
        return command.id

    @rule(id_=purchases, reference=st.sampled_from("ab"))
    def confirm(self, id_: str, reference: str) -> None:
        self.queued.append(Confirm(self.new_id(), id_, f"{id_} {reference}"))

    @rule(id_=purchases)
    def release(self, id_: str) -> None:
        self.queued.append(Release(self.new_id(), id_))

    @rule(id_=purchases)
    def expire(self, id_: str) -> None:
        """Also what is not due any more, or not yet."""
        if self.bought[id_].command.hold_seconds is not None:
            self.queued.append(Expire(self.new_id(), id_))

    @rule(id_=purchases, quantity=st.integers(1, 3), restock=st.booleans())
    def cancel(self, id_: str, quantity: int, restock: bool) -> None:
        """Of the first line, of which more than was bought is never accepted."""
        line = self.bought[id_].command.lines[0]
        lines = (Line(line.ticket_type_id, min(quantity, line.quantity)),)
        self.queued.append(Cancel(self.new_id(), id_, lines, restock))

    @rule(by=steps)
    def extend(self, by: int) -> None:
        if self.bought:
            self.queued.append(Extend(self.new_id(), by * STEP_SECONDS))

    @rule(by=steps)
    def pass_time(self, by: int) -> None:
        self.now += by
        self.lane.pass_time(by)

    @rule()
    def decide_queued(self) -> None:
        commands, self.queued = self.queued, []
        if commands:
            assert self.lane.decide(commands) == [self.foreseen(each) for each in commands]

    @invariant()
    def each_ticket_is_left_or_held_or_sold(self) -> None:
        counts = self.lane.counts()
        assert counts == {id_: (self.left(id_), self.has(id_, HELD)) for id_ in TICKETS}
        assert all(left >= 0 and held >= 0 for left, held in counts.values())
        held = {id_ for id_, bought in self.bought.items() if bought.status == HELD}
        assert self.lane.holds() == held

    def has(self, ticket_type: int, *statuses: str) -> int:
        return sum(b.tickets[ticket_type] for b in self.bought.values() if b.status in statuses)

    def left(self, ticket_type: int) -> int:
        return self.issued[ticket_type] - self.has(ticket_type, HELD, CONFIRMED)

    def foreseen(self, command: Command) -> Outcome:
        match command:
            case Buy():
                return self._buy(command)
            case Extend():
                self.extended += command.seconds // STEP_SECONDS
                return "extended", None
            case Cancel():
                return self._cancel(command, self.bought[command.purchase_id])
            case Issue():
                raise NotImplementedError
        bought = self.bought[command.purchase_id]
        if bought.status != HELD:
            was_held = bought.command.hold_seconds is not None
            already = {EXPIRED: "hold_expired", RELEASED: "hold_released"}
            if was_held:
                already[CONFIRMED] = "already_confirmed"
            return "refused", already.get(bought.status, "not_held")
        if isinstance(command, Expire) and bought.ends_at + self.extended > self.now:
            return "refused", "not_due"
        ends = {Confirm: CONFIRMED, Release: RELEASED, Expire: EXPIRED}
        bought.status = ends[type(command)]
        return bought.status, None

    def _buy(self, command: Buy) -> Outcome:
        wanted = Counter({line.ticket_type_id: line.quantity for line in command.lines})
        reason = None
        if any(quantity > self.left(id_) for id_, quantity in wanted.items()):
            fits = all(n <= self.left(id_) + self.has(id_, HELD) for id_, n in wanted.items())
            reason = "all_held" if fits else "not_enough_tickets"
        elif command.event_limit is not None:
            mine = sum(
                bought.tickets.total()
                for bought in self.bought.values()
                if bought.command.user_id == command.user_id and bought.status in (HELD, CONFIRMED)
            )
            if mine + wanted.total() > command.event_limit:
                reason = "over_user_limit"
        if reason is not None:
            self.bought[command.id] = Bought(command, Counter(), REJECTED)
            return REJECTED, reason
        status = CONFIRMED if command.hold_seconds is None else HELD
        ends_at = self.now + (command.hold_seconds or 0) // STEP_SECONDS - self.extended
        self.bought[command.id] = Bought(command, wanted, status, ends_at)
        return status, None

    def _cancel(self, command: Cancel, bought: Bought) -> Outcome:
        if bought.status != CONFIRMED:
            return "refused", "not_confirmed"
        (line,) = command.lines
        if line.quantity > bought.tickets[line.ticket_type_id]:
            return "refused", "already_cancelled"
        bought.tickets[line.ticket_type_id] -= line.quantity
        if not command.restock:
            self.issued[line.ticket_type_id] -= line.quantity
        return CANCELLED, None
