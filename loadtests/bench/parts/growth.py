"""The same work with millions of purchases stored.

A table that grows cannot take turns with itself, so a second system, grown, takes turns with the
first one, which holds no more than the benchmark itself has bought.
"""

from loadtests.bench.parts import deep_queue
from loadtests.bench.report.figures import Figure, Target, at_least, percent_figure
from loadtests.bench.system.past_sales import add_past_sales
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import whole_path
from loadtests.bench.turns.rounds import Contender, take_turns

TARGET_ROWS = 5_000_000


def measure(bench: Bench, grown: Bench) -> list[Figure]:
    figures = bench.system.memory("with few stored")
    stored = 0
    for rows in bench.sizes.stored:
        bench.say(f"  putting {rows - stored:,} more purchases into a second system ...")
        add_past_sales(grown.system.engine, rows - stored)
        stored = rows
        figures += _whole_path(bench, grown, rows)
        figures += grown.system.memory(f"with {rows} stored")
    return [*figures, *deep_queue.measure(grown, stored)]


def _whole_path(bench: Bench, grown: Bench, rows: int) -> list[Figure]:
    contenders = [
        _contender(bench, f"growth_few_beside_{rows}_stored", f"few stored (beside {rows:,})"),
        _contender(grown, f"growth_{rows}_stored", f"{rows:,} stored"),
    ]
    measured = list(take_turns(contenders, bench.sizes.growth_rounds, bench.say).values())
    few, many = measured
    return [
        *(one.figure("/s") for one in measured),
        percent_figure(
            f"growth_{rows}_stored_of_few_percent",
            f"{rows:,} purchases stored, of few",
            many.rates,
            few.rates,
            _target(rows),
        ),
    ]


def _contender(bench: Bench, name: str, stored: str) -> Contender:
    (hot,) = add_ticket_types(bench.system.engine, 1)
    return Contender(
        f"{name}_purchases_per_second",
        f"accepted and decided, {stored}",
        lambda: whole_path(bench, bench.buying([hot])),
    )


def _target(rows: int) -> Target | None:
    return at_least(95) if rows == TARGET_ROWS else None
