"""How large and how long everything is measured."""

import msgspec


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` is one turn of a closed loop; counts are of purchases unless their name says else.

    Targets are for the sizes in FULL; a figure of another size has no target.
    """

    rounds: int
    seconds: float
    # As many as keep the gateway busy while a commit is under way: 64 wait for the disk instead.
    connections: int = 256
    # Few enough to be remembered by any gateway, many enough to be no single user.
    known_tokens: int = 200
    new_tokens_each_turn: int
    polled: int = 1_000
    many_ticket_types: int = 1_000
    drained: int
    # Decided without a vacuum; a multiple of `drained`.
    unvacuumed: int
    sold_out_backlog: int
    expired: int
    latency_rates_per_second: tuple[int, ...]
    latency_seconds: float
    latency_rounds: int
    tail_rounds: int
    stored: tuple[int, ...]
    deep_backlog: int
    growth_rounds: int
    waiting_clients: int
    webhook_rounds: int


FULL = Sizes(
    rounds=3,
    seconds=3.0,
    new_tokens_each_turn=6_000,
    drained=40_000,
    unvacuumed=1_000_000,
    sold_out_backlog=100_000,
    expired=10_000,
    latency_rates_per_second=(200, 500, 1_000, 2_000),
    latency_seconds=6.0,
    latency_rounds=3,
    tail_rounds=5,
    stored=(1_000_000, 5_000_000),
    deep_backlog=100_000,
    growth_rounds=3,
    waiting_clients=10_000,
    webhook_rounds=5,
)

# Under a minute in all: it shows that everything works, and roughly how fast.
QUICK = Sizes(
    rounds=1,
    seconds=0.4,
    new_tokens_each_turn=400,
    drained=10_000,
    unvacuumed=50_000,
    sold_out_backlog=10_000,
    expired=1_000,
    latency_rates_per_second=(1_000,),
    latency_seconds=1.0,
    latency_rounds=1,
    tail_rounds=1,
    stored=(50_000,),
    deep_backlog=5_000,
    growth_rounds=1,
    waiting_clients=1_000,
    webhook_rounds=1,
)
