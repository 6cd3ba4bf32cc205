"""How long a buyer waits at a given rate: from the intended moment to 202, and to the decision."""

from typing import Literal

import msgspec

from loadtests.bench.load.latency import LatencySummary
from loadtests.bench.load.tally import LoadRun
from loadtests.bench.report.figures import Figure, at_most
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench

Until = Literal["accepted", "decided"]
WAIT_SECONDS = 10
# What the target is for.
TARGET_PER_SECOND, TARGET_MS = 1_000, 30


def measure(bench: Bench) -> list[Figure]:
    """Percentiles at each rate; half of the runs wait for the 202, half for the decision."""
    (hot,) = add_ticket_types(bench.system.engine, 1)
    runs: dict[tuple[int, Until], list[LoadRun]] = {}
    for seed in range(bench.sizes.latency_rounds):
        for rate in bench.sizes.latency_rates_per_second:
            for until in ("accepted", "decided"):
                run = _offer(bench, hot, rate, until, seed)
                runs.setdefault((rate, until), []).append(run)
    return [figure for (rate, until), of in runs.items() for figure in _figures(rate, until, of)]


def _offer(bench: Bench, hot: int, rate: int, until: Until, seed: int) -> LoadRun:
    if until == "accepted":
        load = bench.buying([hot])
    else:
        load = bench.buying_and_waiting([hot], WAIT_SECONDS)
    run = bench.offered(load, rate, seed)
    bench.say(
        f"  {rate:>5,} /s until {until:<8}  p50 {run.latency.p50_ms:6.1f} ms"
        f"  p99 {run.latency.p99_ms:6.1f} ms  p99.9 {run.latency.p999_ms:6.1f} ms"
    )
    return run


def _figures(rate: int, until: Until, runs: list[LoadRun]) -> list[Figure]:
    is_target = (rate, until) == (TARGET_PER_SECOND, "decided")
    shares = [run.generator_cpu_share for run in runs]
    return [
        Figure(
            name=f"latency_at_{rate}_per_second_until_{until}_{field}",
            label=f"{rate:,}/s offered, request to {until}, {_told(field)}",
            unit="ms",
            values=[getattr(run.latency, field) for run in runs],
            target=at_most(TARGET_MS) if is_target and field == "p99_ms" else None,
            generator_cpu_share=max(shares),
        )
        for field in (f.name for f in msgspec.structs.fields(LatencySummary))
        if field != "longest_ms"
    ]


def _told(field: str) -> str:
    return {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}[field]
