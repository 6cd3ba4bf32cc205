"""Where the slowest purchases waited with millions stored: each above three medians gets a cause.

The generator knows when a purchase was meant to be sent, was sent, and was answered; the gateway's
`slow_purchase` has what was between. Probes in the same seconds show the machine's own stalls.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine, text

from gateway.purchases.stages import LOG_EVERY_SECONDS
from loadtests.bench.load.latency import LatencySummary, latency
from loadtests.bench.load.probes import Probes, probe
from loadtests.bench.load.tally import LoadRun, SlowAnswer
from loadtests.bench.report.figures import Figure, at_most
from loadtests.bench.system.eventify import own_systems
from loadtests.bench.system.past_sales import add_past_sales
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process

WAIT_SECONDS = 10
# Of purchases that take longer the stages are logged, of the slowest hundred in each second: three
# medians are more at any rate.
KEPT_SECONDS = 0.012
TIMES_MEDIAN = 3
# A timer or a bare COMMIT that is as late makes others late as well.
STALL_SECONDS = 0.01
TARGETS = {
    **{(rate, "p99_above_commits_ms"): at_most(25) for rate in (200, 1_000, 2_000)},
    **{(rate, "p999_above_commits_ms"): at_most(50) for rate in (200, 1_000, 2_000)},
    (200, "calm_p99_ms"): at_most(15),
    (1_000, "calm_p99_ms"): at_most(30),
}
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


class Round(msgspec.Struct, frozen=True):
    """One run at a rate, and what was probed meanwhile.

    `calm`: seconds from the intended moment to the answer, of the purchases that were meant for a
    second of the run in which the machine did not stall.
    """

    latency: LatencySummary
    commits: LatencySummary
    timers: LatencySummary
    causes: list[Cause]
    calm: list[float]


class _Line(msgspec.Struct):
    event: str


class _Purchase(msgspec.Struct):
    id: str


def measure(bench: Bench) -> list[Figure]:
    sizes = bench.sizes
    rounds: dict[int, list[Round]] = {rate: [] for rate in sizes.latency_rates_per_second}
    with (
        own_systems(1, **RECORDING) as (system,),
        spawned_process() as probing,
    ):
        recording = Bench(sizes, system, bench.generator, bench.say)
        bench.say(f"  putting {sizes.stored[-1]:,} purchases into a system of its own ...")
        add_past_sales(system.engine, sizes.stored[-1])
        (hot,) = add_ticket_types(system.engine, 1)
        recording.warm_up(system.port, recording.buying([hot]))
        for seed in range(sizes.tail_rounds):
            for rate in sizes.latency_rates_per_second:
                probes = probing.submit(probe, system.settings.database_url, sizes.latency_seconds)
                before, began = _counters(system.engine), time.monotonic()
                cpu_before = Counter(system.cpu_of_services())
                load = recording.buying_and_waiting([hot], WAIT_SECONDS)
                run = recording.offered(load, rate, seed, slow_seconds=0.0)  # all answers are kept
                moved = _counters(system.engine) - before
                cpu = Counter(system.cpu_of_services())
                cpu.subtract(cpu_before)
                seconds = time.monotonic() - began
                time.sleep(2 * LOG_EVERY_SECONDS)  # then the slowest are in the log
                rounds[rate].append(_round(recording, rate, run, probes.result()))
                bench.say("      " + ", ".join(f"{n:,} {name}" for name, n in moved.items()))
                cores = (f"{n / seconds:.2f} {name}" for name, n in cpu.most_common())
                bench.say("      cores: " + ", ".join(cores))
        bench.errors += recording.errors + system.check()
    return [figure for rate, of in rounds.items() for figure in figures(rate, of)]


def _counters(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(dict(connection.execute(COUNTERS).mappings().one()))


def _round(bench: Bench, rate: int, run: LoadRun, probes: Probes) -> Round:
    slow_seconds = TIMES_MEDIAN * run.latency.p50_ms / 1e3
    records = {record.purchase: record for record in _records(bench.system.home / "logs")}
    slow = [each for each in run.slow if each.answered_at - each.intended_at > slow_seconds]
    one = Round(
        run.latency,
        latency(late.seconds for late in probes.commits),
        latency(late.seconds for late in probes.timers),
        [_cause(each, records, probes) for each in slow],
        calm_seconds(run, probes),
    )
    bench.say(
        f"  {rate:>5,} /s  p99 {one.latency.p99_ms:6.1f} ms  p99.9 {one.latency.p999_ms:6.1f} ms"
        f"  COMMIT {one.commits.p99_ms:5.1f} ms; {len(slow):,} of {run.answered:,} above"
        f" {1e3 * slow_seconds:.0f} ms"
    )
    for line in table(one.causes):
        bench.say(f"      {line}")
    return one


def calm_seconds(run: LoadRun, probes: Probes) -> list[float]:
    """What each purchase took that was meant for a second without a stall. Pure."""

    def second_of(slow: SlowAnswer) -> int:
        return int(slow.intended_at - run.began_at)

    stalled = {
        second
        for second in set(map(second_of, run.slow))
        if probes.stalled(run.began_at + second, run.began_at + second + 1, STALL_SECONDS)
    }
    return [
        each.answered_at - each.intended_at for each in run.slow if second_of(each) not in stalled
    ]


def figures(rate: int, rounds: Sequence[Round]) -> list[Figure]:
    """Of all rounds at this rate. Pure."""
    p99 = [one.latency.p99_ms for one in rounds]
    p999 = [one.latency.p999_ms for one in rounds]
    commits = [one.commits.p99_ms for one in rounds]
    timers = [one.timers.p99_ms for one in rounds]
    slow = [float(len(one.causes)) for one in rounds]
    alone = [float(sum(not cause.stalled for cause in one.causes)) for one in rounds]
    calm = [seconds for one in rounds for seconds in one.calm]

    def above_commits(values: list[float]) -> list[float]:
        return [max(one - 2 * commit for one, commit in zip(values, commits, strict=True))]

    worst = "less twice a bare COMMIT's p99, the worst round"
    rows: list[tuple[str, str, str, list[float]]] = [
        ("p99_ms", "request to decided, p99", "ms", p99),
        ("p999_ms", "request to decided, p99.9", "ms", p999),
        ("commit_p99_ms", "a bare COMMIT in the same seconds, p99", "ms", commits),
        ("timer_p99_ms", "lateness of a timer in the same seconds, p99", "ms", timers),
        ("p99_above_commits_ms", f"p99 {worst}", "ms", above_commits(p99)),
        ("p999_above_commits_ms", f"p99.9 {worst}", "ms", above_commits(p999)),
        ("slow", f"purchases above {TIMES_MEDIAN} medians", "", slow),
        ("slow_without_a_stall", "of them without a stall of the machine", "", alone),
    ]
    if calm:
        calm_ms = [latency(calm).p99_ms]
        rows.append(("calm_p99_ms", "p99 in seconds without a stall", "ms", calm_ms))
    return [
        Figure(
            name=f"tails_at_{rate}_per_second_{key}",
            label=f"{rate:,}/s offered, {label}",
            unit=unit,
            values=values,
            target=TARGETS.get((rate, key)),
        )
        for key, label, unit, values in rows
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
        record: of the gateway; None where it was quick there, or others in its second were slower.
        epoch_at: the time since 1970 at which the generator's clock was 0.
    """
    stages = {"generator": (slow.intended_at, slow.sent_at - slow.intended_at)}
    if record is None:
        whole = slow.answered_at - slow.sent_at
        return stages | {"outside the gateway, or not logged": (slow.sent_at, whole)}
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
