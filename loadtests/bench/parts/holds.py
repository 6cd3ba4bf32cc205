"""Holds: as many as plain purchases; paid while others buy; and all of a second expired."""

import time
from collections.abc import Iterator

from sqlalchemy import text

from loadtests.bench.load.loops import intended_moments, prepare_generator, run_closed_loop
from loadtests.bench.load.requests import Load
from loadtests.bench.report.figures import Figure, at_least, at_most, percent_figure
from loadtests.bench.system.rows import PRICE, add_ticket_types, queue_purchases, without_limit
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import at_gateway, whole_path
from loadtests.bench.turns.rounds import Contender, take_turns
from loadtests.selling import PURCHASES
from loadtests.spawned import spawned_process

PLAIN = "eventify_plain_purchases_per_second"
HELD = "eventify_held_purchases_per_second"
HOLD_SECONDS = 1_800
CONFIRMS_PER_SECOND = 500
# Of those who buy meanwhile: a sale under way, not one that takes every core.
BUYERS = 8
# They go on until the last confirmation, whose connections are opened first.
CONNECTING_SECONDS = 1.0
DUE_SECONDS = 3
TARGET_EXPIRED = 10_000

SET_HOLD = text("UPDATE ticket_types SET hold_seconds = :seconds WHERE id = :id")
OWNER = text("""
SELECT username FROM users u JOIN events e ON e.owner_id = u.id
JOIN ticket_types t ON t.event_id = e.id WHERE t.id = :id
""")
HOLDS = text("""
SELECT h.purchase_id::text FROM holds h JOIN requests r ON r.id = h.purchase_id
WHERE r.ticket_type_id = :id
""")
STILL_HELD = text("SELECT held FROM counters WHERE ticket_type_id = :id")
LAST_DUE = text("""
SELECT extract(epoch FROM max(h.ends_at) - clock_timestamp())::float8
FROM holds h JOIN ticket_types t ON t.event_id = h.event_id WHERE t.id = :id
""")


def measure(bench: Bench) -> list[Figure]:
    plain, held = add_ticket_types(bench.system.engine, 1) + add_ticket_types(
        bench.system.engine, 1
    )
    with bench.system.engine.begin() as connection:
        connection.execute(SET_HOLD, {"seconds": HOLD_SECONDS, "id": held})
    measured = take_turns(
        [
            Contender(PLAIN, "plain purchases", lambda: whole_path(bench, bench.buying([plain]))),
            Contender(HELD, "held purchases", lambda: whole_path(bench, bench.buying([held]))),
        ],
        bench.sizes.rounds,
        bench.say,
    )
    rates = [one.figure("/s") for one in measured.values()]
    share = percent_figure(
        "held_of_plain_percent",
        "held purchases accepted and decided, of plain ones",
        measured[HELD].rates,
        measured[PLAIN].rates,
        at_least(95),
    )
    return [*rates, share, *_confirmed(bench, held, plain), _expired(bench)]


def _confirmed(bench: Bench, held: int, plain: int) -> list[Figure]:
    """As fast as answers come; then at a fixed rate, while others buy."""
    confirming = _confirming(bench, held)
    turns = [at_gateway(bench, next(confirming)) for _ in range(bench.sizes.rounds)]
    latencies = []
    seconds = bench.sizes.latency_seconds
    with spawned_process(prepare_generator) as buyers:
        # A process that starts takes a core for a second, and nobody buys meanwhile.
        buyers.submit(prepare_generator).result()
        for seed in range(bench.sizes.latency_rounds):
            load, confirmations = bench.buying([plain]), next(confirming)
            moments = intended_moments(CONFIRMS_PER_SECOND, seconds, seed)
            # A slow machine has held fewer.
            moments = moments[: confirmations.requests_max]
            buying = buyers.submit(
                run_closed_loop, bench.system.port, load, BUYERS, seconds + CONNECTING_SECONDS
            )
            latencies.append(bench.open(confirmations, moments).latency)
            bench.checked(buying.result())
    at_rate = f"{CONFIRMS_PER_SECOND} confirmations/s while others buy"
    return [
        Figure(
            name="confirmations_per_second",
            label="confirmations accepted, decided and answered",
            unit="/s",
            values=[turn.done / turn.seconds for turn in turns],
            target=at_least(5_000),
        ),
        Figure(
            name="confirmation_p50_ms",
            label=f"{at_rate}, p50",
            unit="ms",
            values=[latency.p50_ms for latency in latencies],
        ),
        Figure(
            name="confirmation_p99_ms",
            label=f"{at_rate}, p99",
            unit="ms",
            values=[latency.p99_ms for latency in latencies],
            target=at_most(60),
        ),
    ]


def _confirming(bench: Bench, ticket_type: int) -> Iterator[Load]:
    """Loads that confirm different held purchases, by their owner."""
    with bench.system.engine.begin() as connection:
        without_limit(connection)
        ids = connection.scalars(HOLDS, {"id": ticket_type}).all()
        owner = connection.execute(OWNER, {"id": ticket_type}).scalar_one()
    token = bench.system.command("token", owner).strip()
    turns = bench.sizes.rounds + bench.sizes.latency_rounds
    share = len(ids) // turns
    for turn in range(turns):
        mine = ids[turn * share : (turn + 1) * share]
        yield Load(
            method="POST",
            paths=[f"{PURCHASES}{id_}/confirm/" for id_ in mine],
            tokens=[token],
            bodies=[
                b'{"payment_reference": "pay-%b", "amount": "%b", "currency": "EUR"}'
                % (id_.encode(), PRICE.encode())
                for id_ in mine
            ],
            expected=frozenset({200}),
            requests_max=len(mine),
        )


def _expired(bench: Bench) -> Figure:
    """From the end of the last of many holds until all of their tickets are back on sale."""
    system, count = bench.system, bench.sizes.expired
    seconds = []
    for _ in range(bench.sizes.growth_rounds):
        (held,) = add_ticket_types(system.engine, 1, capacity=count)
        decisions = system.decisions()
        queue_purchases(system.engine, held, count, hold_seconds=DUE_SECONDS)
        system.wait_for_decisions(decisions + count)
        with system.engine.connect() as connection:
            due_at = time.monotonic() + connection.execute(LAST_DUE, {"id": held}).scalar_one()
        system.wait_for_decisions(decisions + 2 * count)
        seconds.append(max(0.0, time.monotonic() - due_at))
        with system.engine.connect() as connection:
            left_held = connection.execute(STILL_HELD, {"id": held}).scalar_one()
        assert left_held == 0, "all of them expired"
        bench.say(f"  {count:,} holds back on sale {seconds[-1]:.2f} s after the last was due")
    return Figure(
        name=f"{count}_holds_expired_seconds",
        label=f"{count:,} holds of one second, back on sale after the last is due",
        unit="s",
        values=seconds,
        target=at_most(2) if count == TARGET_EXPIRED else None,
    )
