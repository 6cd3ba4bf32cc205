"""The whole benchmark, part after part, on systems of its own."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain

import msgspec
import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from loadtests.bench.load.loops import prepare_generator
from loadtests.bench.parts import (
    backlog,
    calibration,
    drain,
    gateway,
    growth,
    holds,
    latency,
    reads,
    storage,
    tails,
    waiting,
    wal,
    webhooks,
    whole_path,
)
from loadtests.bench.report.figures import Figure
from loadtests.bench.report.machine import this_machine
from loadtests.bench.report.results import BenchReport, PartResult
from loadtests.bench.sizes import FULL, Sizes
from loadtests.bench.system.eventify import BenchSystem, own_systems
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process

GROWTH, GROWTH_TITLE = "growth", "Growth: millions stored, a long queue, memory"
# By the name on the command line.
PARTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "calibration": ("The generator alone", calibration.measure),
    "gateway": ("The gateway: one process, beside a bare ASGI function", gateway.measure),
    "reads": ("Reads, beside a bare ASGI function", reads.measure),
    "whole-path": ("Accepted durably and decided", whole_path.measure),
    "latency": ("Latency from the intended moment, open loop", latency.measure),
    "tails": ("Where the slowest waited", tails.measure),
    "drain": ("The drain alone", drain.measure),
    "storage": ("The database without a vacuum", storage.measure),
    "wal": ("What a purchase writes to the WAL", wal.measure),
    "backlog": ("A sold-out queue", backlog.measure),
    "holds": ("Holds, payments, expiries", holds.measure),
    "webhooks": ("Purchases while webhooks are sent", webhooks.measure),
    "waiting": ("Waiting clients", waiting.measure),
}
ALL_PARTS = (GROWTH, *PARTS)


def measure_all(
    sizes: Sizes, wanted: Collection[str], say: Callable[[str], None], measured_at: datetime
) -> BenchReport:
    """Measure the parts that are wanted; takes down what it started.

    Raises:
        RuntimeError: a system does not start.
    """
    began = time.monotonic()
    say("Starting what is to be measured ...")
    with (
        own_systems(2 if GROWTH in wanted else 1) as systems,
        spawned_process(prepare_generator) as generator,
    ):
        with ThreadPoolExecutor(len(systems)) as threads:  # each waits for its tokens
            bench, *others = threads.map(lambda one: Bench(sizes, one, generator, say), systems)
        machine = this_machine(bench.system.engine)
        parts = []
        with ExitStack() as suspended:
            # The first, for then the system that it is compared with has little stored.
            for grown in others:
                parts.append(measure_growth(bench, grown))
                suspended.enter_context(grown.system.suspended())
            parts += measure_parts(bench, wanted)
        errors = [error for one in (bench, *others) for error in one.errors]
        with ThreadPoolExecutor(len(systems)) as threads:
            errors += chain.from_iterable(threads.map(BenchSystem.check, systems))
    return BenchReport(
        measured_at=measured_at.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        machine=machine,
        sizes=sizes,
        parts=parts,
        errors=errors,
    )


def measure_growth(bench: Bench, grown: Bench) -> PartResult:
    return _measured(bench, GROWTH_TITLE, partial(growth.measure, bench, grown))


def measure_parts(bench: Bench, wanted: Collection[str]) -> list[PartResult]:
    with_new_tokens = [name for name in ("gateway", "whole-path") if name in wanted]
    if with_new_tokens:
        bench.mint_new_tokens(bench.sizes.rounds * len(with_new_tokens))
    return [
        _measured(bench, title, partial(measure, bench))
        for name, (title, measure) in PARTS.items()
        if name in wanted
    ]


def _measured(bench: Bench, title: str, measure: Callable[[], list[Figure]]) -> PartResult:
    """A part that fails is an error and has no figures; the others are still measured."""
    bench.say(title)
    began = time.monotonic()
    try:
        figures = measure()
    except (RuntimeError, TimeoutError, OSError, SQLAlchemyError, psycopg2.Error) as error:
        bench.errors.append(f"{title}: {error!r}")
        figures = []
    if bench.sizes != FULL:
        figures = [msgspec.structs.replace(figure, target=None) for figure in figures]
    return PartResult(title, time.monotonic() - began, figures)
