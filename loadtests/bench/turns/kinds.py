"""The kinds of a turn: at a baseline, at the gateway alone, through the whole path."""

import time

from loadtests.bench.load.requests import Load
from loadtests.bench.system.baseline import Server
from loadtests.bench.system.eventify import BenchSystem
from loadtests.bench.system.processes import cpu_seconds
from loadtests.bench.turns.bench import ACCEPTED, Bench
from loadtests.bench.turns.rounds import TurnResult


def at_baseline(bench: Bench, server: Server, load: Load) -> TurnResult:
    before = cpu_seconds(server.pids)
    run = bench.closed(server.port, load)
    return TurnResult(run.answered, run.seconds, cpu_seconds(server.pids) - before, run)


def at_gateway(bench: Bench, load: Load) -> TurnResult:
    """Any request to the gateways, and their CPU time."""
    before = bench.system.cpu_of_services()
    run = bench.closed(bench.system.port, load)
    cpu = _since(before, bench.system)
    return TurnResult(run.answered, run.seconds, cpu["gateway"], run, cpu)


def at_gateway_alone(bench: Bench, load: Load) -> TurnResult:
    """Purchases are accepted while workers are suspended, and decided before the turn is over."""
    decisions = bench.system.decisions()
    with bench.system.deciding_suspended():
        sample = at_gateway(bench, load)
    bench.system.wait_for_decisions(decisions + accepted(sample))
    return sample


def whole_path(bench: Bench, load: Load) -> TurnResult:
    """Purchases accepted and decided: the time runs until the last decision is committed."""
    system = bench.system
    decisions, before = system.decisions(), system.cpu_of_services()
    run = bench.closed(system.port, load)
    done = run.answers.get(ACCEPTED, 0)
    system.wait_for_decisions(decisions + done)
    seconds = time.monotonic() - run.began_at
    cpu = _since(before, system)
    return TurnResult(done, seconds, sum(cpu.values()), run, cpu)


def _since(before: dict[str, float], system: BenchSystem) -> dict[str, float]:
    return {service: cpu - before[service] for service, cpu in system.cpu_of_services().items()}


def accepted(sample: TurnResult) -> int:
    return 0 if sample.run is None else sample.run.answers.get(ACCEPTED, 0)
