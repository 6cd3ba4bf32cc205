"""A long queue without a worker: what it costs the gateway, and how soon it is decided then."""

import time
from functools import partial

from loadtests.bench.report.figures import Figure, percent_figure
from loadtests.bench.system.rows import add_ticket_types, queue_purchases
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import accepted, at_gateway
from loadtests.bench.turns.rounds import Contender, TurnResult, take_turns


def measure(bench: Bench, stored: int) -> list[Figure]:
    """The gateway with nothing and with much queued before; the system's pace through the queue."""
    deep = bench.sizes.deep_backlog
    queue = _LongQueue(bench)
    contenders = [
        Contender(
            f"growth_gateway_{rows}_queued_before_requests_per_second",
            f"gateway alone, {stored:,} stored, {rows:,} queued before",
            partial(queue.turn, rows),
        )
        for rows in (0, deep)
    ]
    measured = list(take_turns(contenders, bench.sizes.growth_rounds, bench.say).values())
    none, much = measured
    return [
        *(one.figure("/s") for one in measured),
        percent_figure(
            f"growth_gateway_{deep}_queued_before_of_none_percent",
            f"gateway with {deep:,} queued before, of none",
            much.rates,
            none.rates,
        ),
        Figure(
            name=f"growth_queue_of_{deep}_decisions_per_second",
            label=f"whole system through a queue of {deep:,}",
            unit="/s",
            values=queue.paces,
        ),
        *queue.memory,
    ]


class _LongQueue:
    """`paces`: decisions a second of each long queue; `memory`: behind the last of them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.paces: list[float] = []
        self.memory: list[Figure] = []

    def turn(self, rows: int) -> TurnResult:
        """The gateway alone, with `rows` queued before of the same event."""
        bench, system = self._bench, self._bench.system
        (hot,) = add_ticket_types(system.engine, 1)
        decisions = system.decisions()
        with system.deciding_suspended():
            if rows:
                queue_purchases(system.engine, hot, rows)
            sample = at_gateway(bench, bench.buying([hot]))
            if rows:
                self.memory = system.memory(f"with {rows} queued")
            began = time.monotonic()
        queued = rows + accepted(sample)
        system.wait_for_decisions(decisions + queued)
        if rows:
            self.paces.append(queued / (time.monotonic() - began))
        return sample
