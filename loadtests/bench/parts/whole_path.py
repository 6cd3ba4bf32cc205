"""Purchases accepted durably and decided, beside the straightforward design with two processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from loadtests.baselines import straightforward
from loadtests.bench.load.requests import Load
from loadtests.bench.report.figures import Figure, Target, at_least, percent_figure, ratios
from loadtests.bench.system.baseline import Server, running_server
from loadtests.bench.system.rows import PLENTY, PRICE, add_ticket_types
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.kinds import at_baseline, whole_path
from loadtests.bench.turns.rounds import Contender, Measured, take_turns
from shared.config.database_url import sqlalchemy_url

PROCESSES = 2
DATABASE = "straightforward"
STRAIGHT = "straightforward_two_processes_purchases_per_second"
BARE = "bare_asgi_two_processes_requests_per_second"
HOT = "eventify_one_ticket_type_purchases_per_second"
NEW_TOKENS = "eventify_new_tokens_purchases_per_second"
CARTS = "eventify_carts_purchases_per_second"
TYPES = "eventify_ticket_types_of_one_event_purchases_per_second"
EVENTS = "eventify_many_events_purchases_per_second"
LINES = 3


def measure(bench: Bench) -> list[Figure]:
    with (
        _straightforward(bench) as straight,
        running_server("loadtests.baselines.bare_asgi", PROCESSES) as bare,
    ):
        bench.warm_up(straight.port, bench.buying_without_key([1]))
        bench.warm_up(bare.port, bench.buying([1]))
        contenders = [
            *_others(bench, straight, bare),
            *_eventify(bench),
        ]
        measured = take_turns(contenders, bench.sizes.rounds, bench.say)
    return [
        *(one.figure("/s") for one in measured.values()),
        *_comparisons(bench, measured),
        *measured[HOT].costs("gateway", "worker", "postgres", "valkey"),
    ]


def _others(bench: Bench, straight: Server, bare: Server) -> list[Contender]:
    return [
        Contender(
            STRAIGHT,
            "straightforward design, two processes",
            lambda: at_baseline(bench, straight, bench.buying_without_key([1])),
        ),
        Contender(
            BARE,
            "bare ASGI function, two processes",
            lambda: at_baseline(bench, bare, bench.buying([1])),
        ),
    ]


def _eventify(bench: Bench) -> list[Contender]:
    engine, many = bench.system.engine, bench.sizes.many_ticket_types
    (hot,) = add_ticket_types(engine, 1)
    in_cart = add_ticket_types(engine, LINES)
    of_one_event = add_ticket_types(engine, many)
    of_many_events = add_ticket_types(engine, many, events=many)

    def contender(name: str, label: str, load: Callable[[], Load]) -> Contender:
        return Contender(name, f"accepted and decided, {label}", lambda: whole_path(bench, load()))

    return [
        contender(HOT, "one hot ticket type", lambda: bench.buying([hot])),
        contender(NEW_TOKENS, "a new token each", lambda: bench.buying_with_new_tokens([hot])),
        contender(CARTS, f"carts of {LINES} lines", lambda: bench.buying_carts(in_cart)),
        contender(TYPES, f"{many:,} ticket types of one event", lambda: bench.buying(of_one_event)),
        contender(
            EVENTS,
            f"{many:,} ticket types of {many:,} events",
            lambda: bench.buying(of_many_events),
        ),
    ]


def _comparisons(bench: Bench, measured: dict[str, Measured]) -> list[Figure]:
    hot, many = measured[HOT].rates, bench.sizes.many_ticket_types

    def of_hot(name: str, label: str, target: Target | None) -> Figure:
        return percent_figure(
            name.replace("purchases_per_second", "of_one_percent"),
            label,
            measured[name].rates,
            hot,
            target,
        )

    return [
        Figure(
            name="eventify_against_straightforward_times",
            label="accepted and decided, against the straightforward design",
            unit="x",
            values=ratios(hot, measured[STRAIGHT].rates),
            target=at_least(25),
        ),
        percent_figure(
            "eventify_of_bare_two_processes_percent",
            "accepted and decided, of the bare function's two processes",
            hot,
            measured[BARE].rates,
        ),
        of_hot(CARTS, f"carts of {LINES} lines, of one line", at_least(60)),
        of_hot(TYPES, f"{many:,} ticket types of one event, of one", at_least(95)),
        of_hot(EVENTS, f"{many:,} ticket types of {many:,} events, of one", at_least(80)),
    ]


@contextmanager
def _straightforward(bench: Bench) -> Iterator[Server]:
    """The straightforward service on a database of its own of the same PostgreSQL server."""
    settings = bench.system.create_database(DATABASE)
    engine = create_engine(sqlalchemy_url(settings.database_url))
    straightforward.SimpleBase.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(straightforward.SimpleTicketType(price=Decimal(PRICE), capacity=PLENTY))
        session.commit()
    engine.dispose()
    environment = {
        "EVENTIFY_DATABASE_URL": settings.database_url,
        "EVENTIFY_KEYS_DIR": str(settings.keys_dir),
    }
    with running_server("loadtests.baselines.straightforward", PROCESSES, environment) as server:
        # PostgreSQL works for it as it does for Eventify, and is counted with both.
        yield Server(server.port, [*server.pids, bench.system.pids["postgres"]])
