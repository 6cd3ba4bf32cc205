"""Where the slowest purchases waited: each above three times the median gets a cause.

The generator knows when a purchase was meant to be sent, was sent, and was answered; the gateway's
`slow_purchase` has what was between. Probes in the same seconds show the machine's own stalls.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from sqlalchemy import Engine, text

from loadtests.bench.load.latency import latency
from loadtests.bench.load.loops import intended_moments
from loadtests.bench.load.probes import Probes, probe
from loadtests.bench.load.tally import LoadRun, SlowAnswer
from loadtests.bench.report.figures import Figure
from loadtests.bench.system.eventify import own_systems
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process

WAIT_SECONDS = 10
# Of every purchase that takes longer the stages are kept: three medians are more at any rate.
KEPT_SECONDS = 0.008
TIMES_MEDIAN = 3
# A timer or a bare COMMIT that is as late makes others late as well.
STALL_SECONDS = 0.01
RECORDING = {"EVENTIFY_SLOW_PURCHASE_SECONDS": f"{KEPT_SECONDS}"}
# PostgreSQL's own counters, of the whole server.
COUNTERS = text("""
SELECT w.wal_records AS "records of WAL", w.wal_fpi AS "full pages",
       w.wal_bytes::bigint AS "bytes of WAL",
       (SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal') AS "flushes of the WAL",
       (SELECT sum(writes)::bigint FROM pg_stat_io
        WHERE object = 'relation' AND backend_type = 'client backend')
           AS "pages that sessions had to write",
       (SELECT num_timed + num_requested FROM pg_stat_checkpointer) AS "checkpoints"
FROM pg_stat_wal w
""")
# Stages in which PostgreSQL works.
OF_POSTGRES = ("accept", "lock", "decide", "commit", "result")


class Record(msgspec.Struct, frozen=True):
    """A line `slow_purchase` of a gateway's log; times since 1970."""

    purchase: str
    received_at: float
    seconds: float
    stages: dict[str, float]


class Cause(msgspec.Struct, frozen=True):
    """Of one slow purchase. `stalled`: the machine was, in its time."""

    stage: str
    seconds: float
    stalled: bool


class _Line(msgspec.Struct):
    event: str


class _Purchase(msgspec.Struct):
    id: str


def measure(bench: Bench) -> list[Figure]:
    figures = []
    with (
        own_systems(1, **RECORDING) as (system,),
        spawned_process() as probing,
    ):
        recording = Bench(bench.sizes, system, bench.generator, bench.say)
        (hot,) = add_ticket_types(system.engine, 1)
        recording.warm_up(system.port, recording.buying([hot]))
        for rate in bench.sizes.latency_rates_per_second:
            seconds = bench.sizes.latency_seconds
            url = system.settings.database_url
            probes = probing.submit(probe, url, seconds)
            before = _counters(system.engine)
            run = _offer(recording, hot, rate, seconds)
            moved = _counters(system.engine) - before
            figures += _figures(recording, rate, run, probes.result())
            bench.say("      " + ", ".join(f"{count:,} {name}" for name, count in moved.items()))
        bench.errors += recording.errors + system.check()
    return figures


def _counters(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(dict(connection.execute(COUNTERS).mappings().one()))


def _offer(bench: Bench, hot: int, rate: int, seconds: float) -> LoadRun:
    decisions = bench.system.decisions()
    load = bench.buying_and_waiting([hot], WAIT_SECONDS)
    run = bench.open(load, intended_moments(rate, seconds, seed=rate), KEPT_SECONDS)
    bench.system.wait_for_decisions(decisions + run.answered)
    return run


def _figures(bench: Bench, rate: int, run: LoadRun, probes: Probes) -> list[Figure]:
    slow_seconds = TIMES_MEDIAN * run.latency.p50_ms / 1e3
    records = {record.purchase: record for record in _records(bench.system.home / "logs")}
    slow = [each for each in run.slow if each.answered_at - each.intended_at > slow_seconds]
    causes = [_cause(each, records, probes) for each in slow]
    above = f"above {1e3 * slow_seconds:.0f} ms"
    bench.say(f"  {rate:>5,} /s  {len(slow):,} of {run.answered:,} purchases {above}")
    for line in table(causes):
        bench.say(f"      {line}")
    commits = latency(late.seconds for late in probes.commits)
    timers = latency(late.seconds for late in probes.timers)
    name, at = f"tails_at_{rate}_per_second", f"{rate:,}/s offered"
    alone = sum(not cause.stalled for cause in causes)
    return [
        Figure(name=f"{name}_{key}", label=f"{at}, {label}", unit=unit, values=[value])
        for key, label, unit, value in (
            ("p99_ms", "request to decided, p99", "ms", run.latency.p99_ms),
            ("p999_ms", "request to decided, p99.9", "ms", run.latency.p999_ms),
            ("commit_p99_ms", "a bare COMMIT in the same seconds, p99", "ms", commits.p99_ms),
            ("timer_p99_ms", "lateness of a timer in the same seconds, p99", "ms", timers.p99_ms),
            ("slow", f"purchases above {TIMES_MEDIAN} medians", "", float(len(slow))),
            ("slow_without_a_stall", "of them without a stall of the machine", "", float(alone)),
        )
    ]


def _records(logs: Path) -> Iterator[Record]:
    for file in logs.glob("gateway-*.log"):
        for line in file.read_bytes().splitlines():
            if b"slow_purchase" in line and msgspec.json.decode(line, type=_Line).event == (
                "slow_purchase"
            ):
                yield msgspec.json.decode(line, type=Record)


def _cause(slow: SlowAnswer, records: Mapping[str, Record], probes: Probes) -> Cause:
    record = records.get(msgspec.json.decode(slow.body, type=_Purchase).id)
    stages = stages_of(slow, record, time.time() - time.monotonic())
    stage, (began_at, seconds) = max(stages.items(), key=lambda item: item[1][1])
    if stage in OF_POSTGRES:
        waits = Counter(probes.waits_between(began_at, began_at + seconds))
        stage += "".join(f", {name}" for name, _ in waits.most_common(1))
    stalled = probes.stalled(slow.intended_at, slow.answered_at, STALL_SECONDS)
    return Cause(stage, seconds, stalled)


def stages_of(
    slow: SlowAnswer, record: Record | None, epoch_at: float
) -> dict[str, tuple[float, float]]:
    """When each stage began, on the generator's clock, and how long it took. Pure.

    Args:
        slow: what the generator saw.
        record: of the gateway, if it has one.
        epoch_at: the time since 1970 at which the generator's clock was 0.
    """
    stages = {"generator": (slow.intended_at, slow.sent_at - slow.intended_at)}
    if record is None:  # the gateway found it quick
        return stages | {"outside the gateway": (slow.sent_at, slow.answered_at - slow.sent_at)}
    at = record.received_at - epoch_at
    stages["until it was read"] = (slow.sent_at, at - slow.sent_at)
    for name, seconds in record.stages.items():
        stages[name] = (at, seconds)
        at += seconds
    return stages | {"the answer's way": (at, slow.answered_at - at)}


def table(causes: list[Cause]) -> list[str]:
    """The commonest causes first: how many, how many of them beside a stall, and the longest."""
    by_stage: dict[str, list[Cause]] = {}
    for cause in causes:
        by_stage.setdefault(cause.stage, []).append(cause)
    return [
        f"{stage:<40} {len(of):>5}, beside a stall {sum(each.stalled for each in of):>5},"
        f" longest {1e3 * max(each.seconds for each in of):6.1f} ms"
        for stage, of in sorted(by_stage.items(), key=lambda item: -len(item[1]))
    ]
