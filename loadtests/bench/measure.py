"""The whole benchmark, part after part, on one system of its own."""

import time
from collections.abc import Callable, Collection
from datetime import datetime

from loadtests.bench.bench import Bench
from loadtests.bench.figures import Figure
from loadtests.bench.generator import running_generator
from loadtests.bench.machine import this_machine
from loadtests.bench.parts import (
    backlog,
    calibration,
    door,
    drain,
    growth,
    latency,
    waiting,
    whole_path,
)
from loadtests.bench.report import Part, Report
from loadtests.bench.sizes import Sizes
from loadtests.bench.system import own_system

# Growth first: its first system is meant to have little stored. By the name on the command line.
PARTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "growth": ("Growth: millions stored, a long queue, memory", growth.measure),
    "calibration": ("The generator alone", calibration.measure),
    "door": ("The door: one gateway process, beside a bare ASGI function", door.measure),
    "whole-path": ("Accepted durably and decided", whole_path.measure),
    "latency": ("Latency from the intended moment, open loop", latency.measure),
    "drain": ("The drain alone", drain.measure),
    "backlog": ("A sold-out queue", backlog.measure),
    "waiting": ("Waiting clients", waiting.measure),
}


def measure_all(
    sizes: Sizes, only: Collection[str], say: Callable[[str], None], measured_at: datetime
) -> Report:
    """Measure every part, or only those that are named; takes down what it started.

    Raises:
        RuntimeError: a server does not start.
        TimeoutError: purchases are not decided.
    """
    began = time.monotonic()
    say("Starting a system for the benchmark ...")
    with own_system() as system, running_generator() as generator:
        bench = Bench(sizes, system, generator, say)
        machine = this_machine(system.engine)
        parts = []
        for name, (title, measure) in PARTS.items():
            if not only or name in only:
                say(title)
                part_began = time.monotonic()
                figures = measure(bench)
                parts.append(Part(title, time.monotonic() - part_began, figures))
        # What was measured counts only if every promise was kept meanwhile.
        system.command("audit")
        bench.errors += [f"{name} ended and was started again" for name in system.restarted()]
    return Report(
        measured_at=measured_at.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        machine=machine,
        sizes=sizes,
        parts=parts,
        errors=bench.errors,
    )
