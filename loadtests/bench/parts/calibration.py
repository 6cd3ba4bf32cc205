"""How we know that the generator is not the bottleneck: what it reaches where nothing is done."""

from functools import partial

from loadtests.bench.report.figures import Figure
from loadtests.bench.system.baseline import running_server
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import at_baseline
from loadtests.bench.turns.rounds import Contender, take_turns


def measure(bench: Bench) -> list[Figure]:
    load = bench.buying([1])
    with running_server("loadtests.baselines.fixed_bytes", 1) as server:
        contender = Contender(
            "generator_against_fixed_bytes_requests_per_second",
            "generator against a server of fixed bytes",
            partial(at_baseline, bench, server, load),
        )
        measured = take_turns([contender], bench.sizes.rounds, bench.say)
    return [measured[contender.name].figure("/s")]
