"""A long queue of an event that sells out at once: how soon all of it is rejected."""

import time

from loadtests.bench.report.figures import Figure, at_most
from loadtests.bench.system.rows import add_ticket_types, queue_purchases
from loadtests.bench.turns.bench import Bench

TARGET_ROWS = 100_000


def measure(bench: Bench) -> list[Figure]:
    """Seconds from the moment when a worker may begin until nothing is queued."""
    rows = bench.sizes.sold_out_backlog
    seconds = [_close(bench, rows) for _ in range(bench.sizes.growth_rounds)]
    return [
        Figure(
            name=f"sold_out_backlog_of_{rows}_rejected_seconds",
            label=f"{rows:,} queued requests of a sold-out event rejected",
            unit="s",
            values=seconds,
            target=at_most(1.5) if rows == TARGET_ROWS else None,
        )
    ]


def _close(bench: Bench, rows: int) -> float:
    """One ticket is left and the first request takes it; the last one comes through the gateway.

    So the workers are woken as ever, by a wake-up, and find the rest of the queue besides.
    """
    system = bench.system
    (sold_out,) = add_ticket_types(system.engine, 1, capacity=1)
    decisions = system.decisions()
    with system.deciding_suspended():
        queue_purchases(system.engine, sold_out, rows - 1)
        last = bench.buy(sold_out, 1)
        began = time.monotonic()
    system.wait_for_decisions(decisions + rows - 1 + last)
    seconds = time.monotonic() - began
    bench.say(f"  {rows:,} rejected in {seconds:.2f} s")
    return seconds
