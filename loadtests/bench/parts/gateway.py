"""The gateway: what one gateway process answers, beside a bare ASGI function in one process."""

from functools import partial

from loadtests.bench.report.figures import Figure, Target, at_least, percent_figure
from loadtests.bench.system.baseline import Server, running_server
from loadtests.bench.system.rows import add_ticket_types
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import at_baseline, at_gateway, at_gateway_alone
from loadtests.bench.turns.rounds import Contender, Measured, TurnResult, take_turns

BARE = "bare_asgi_one_process_requests_per_second"
ACCEPT = "gateway_accept_requests_per_second"
NEW_TOKENS = "gateway_accept_new_tokens_requests_per_second"
POLL_DECIDED = "gateway_poll_decided_requests_per_second"
POLL_QUEUED = "gateway_poll_queued_requests_per_second"
TARGETS = {
    ACCEPT: at_least(50),
    NEW_TOKENS: at_least(45),
    POLL_DECIDED: at_least(80),
    POLL_QUEUED: at_least(65),
}


def measure(bench: Bench) -> list[Figure]:
    (hot,) = add_ticket_types(bench.system.engine, 1)
    with running_server("loadtests.baselines.bare_asgi", 1) as bare:
        bench.warm_up(bare.port, bench.buying([hot]))
        measured = take_turns(_contenders(bench, bare, hot), bench.sizes.rounds, bench.say)
    figures = [one.figure("/s") for one in measured.values()]
    base = measured.pop(BARE)
    return [
        *figures,
        *(_against(base, one, TARGETS.get(name)) for name, one in measured.items()),
        *(cost for one in measured.values() for cost in one.costs("gateway", "postgres", "valkey")),
    ]


def _contenders(bench: Bench, bare: Server, hot: int) -> list[Contender]:
    return [
        Contender(
            BARE,
            "bare ASGI function, one process",
            lambda: at_baseline(bench, bare, bench.buying([hot])),
        ),
        Contender(
            ACCEPT,
            "gateway: accept (token, key, commit)",
            lambda: at_gateway_alone(bench, bench.buying([hot])),
        ),
        Contender(
            NEW_TOKENS,
            "gateway: accept, a new token each",
            lambda: at_gateway_alone(bench, bench.buying_with_new_tokens([hot])),
        ),
        Contender(
            POLL_DECIDED,
            "gateway: poll decided purchases",
            lambda: at_gateway(bench, bench.polling_newest()),
        ),
        Contender(POLL_QUEUED, "gateway: poll queued purchases", partial(_poll_queued, bench, hot)),
    ]


def _poll_queued(bench: Bench, hot: int) -> TurnResult:
    """Polls of purchases that stay queued meanwhile, and are decided before the turn is over."""
    decisions = bench.system.decisions()
    with bench.system.deciding_suspended():
        bought = bench.buy(hot, bench.sizes.polled)
        sample = at_gateway(bench, bench.polling_newest())
    bench.system.wait_for_decisions(decisions + bought)
    return sample


def _against(base: Measured, one: Measured, target: Target | None) -> Figure:
    return percent_figure(
        one.contender.name.replace("requests_per_second", "of_bare_percent"),
        f"{one.contender.label}, of the bare function",
        one.rates,
        base.rates,
        target,
    )
