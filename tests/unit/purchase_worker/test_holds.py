"""The rule of holds, beside a model, in any order of commands and with time moved by hand."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from purchase_worker.decision import REFUSED, Buy, Command, Purchase, State, decide, later
from shared.purchases import CONFIRMED, HELD
from tests.support.holds_machine import STEP_SECONDS, TICKETS, HoldsMachine, Outcome


class Rule:
    """`decide` alone. What it decides together it decides one by one as well."""

    def __init__(self) -> None:
        self.at = later("2026-01-01T00:00:00+00:00", 0)
        self.state = State(0, self.at, TICKETS)

    def decide(self, commands: Sequence[Command]) -> list[Outcome]:
        together, after = decide(self.state, self.at, commands)
        apart = []
        for command in commands:
            before = self.state
            (entry,), self.state = decide(before, self.at, [command])
            apart.append(entry)
            if entry.kind == REFUSED:
                assert (self.state.left, self.state.held) == (before.left, before.held)
                assert (self.state.owned, self.state.purchases) == (before.owned, before.purchases)
        assert together == apart
        assert after == self.state
        # The rule keeps no purchase that is confirmed at once: the next batch reads it.
        confirmed = {
            entry.command.id: Purchase(entry.command.holder, entry.command.lines, CONFIRMED)
            for entry in together
            if isinstance(entry.command, Buy) and entry.kind == CONFIRMED
        }
        self.state = replace(self.state, purchases={**self.state.purchases, **confirmed})
        return [(entry.kind, entry.reason) for entry in together]

    def pass_time(self, steps: int) -> None:
        self.at = later(self.at, steps * STEP_SECONDS)

    def counts(self) -> dict[int, tuple[int, int]]:
        return {id_: (self.state.left[id_], self.state.held.get(id_, 0)) for id_ in TICKETS}

    def holds(self) -> set[str]:
        return {id_ for id_, bought in self.state.purchases.items() if bought.status == HELD}


class RuleMachine(HoldsMachine):
    def __init__(self) -> None:
        super().__init__(Rule())


def test_whatever_comes_in_any_order_a_hold_ends_once_and_no_ticket_is_lost() -> None:
    run_state_machine_as_test(
        RuleMachine, settings=settings(max_examples=300, stateful_step_count=40, deadline=None)
    )
