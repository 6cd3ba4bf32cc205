"""Purchases accepted durably and decided, beside the straightforward design with two processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from loadtests.baselines import straightforward
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


def measure(bench: Bench) -> list[Figure]:
    most = max(bench.sizes.many_ticket_types)
    ids = add_ticket_types(bench.system.engine, most + 1)
    with (
        _straightforward(bench) as straight,
        running_server("loadtests.baselines.bare_asgi", PROCESSES) as bare,
    ):
        bench.warm_up(straight.port, bench.buying_without_key([1]))
        bench.warm_up(bare.port, bench.buying([1]))
        contenders = [
            *_others(bench, straight, bare),
            *_eventify(bench, ids[0], ids[1:]),
        ]
        measured = take_turns(contenders, bench.sizes.rounds, bench.say)
    return [*(one.figure("/s") for one in measured.values()), *_comparisons(bench, measured)]


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


def _eventify(bench: Bench, hot: int, others: list[int]) -> list[Contender]:
    def spread(count: int) -> Contender:
        return Contender(
            _spread(count),
            f"accepted and decided, {count:,} ticket types",
            lambda: whole_path(bench, bench.buying(others[:count])),
        )

    return [
        Contender(
            HOT,
            "accepted and decided, one hot ticket type",
            lambda: whole_path(bench, bench.buying([hot])),
        ),
        Contender(
            NEW_TOKENS,
            "accepted and decided, a new token each",
            lambda: whole_path(bench, bench.buying_with_new_tokens([hot])),
        ),
        *map(spread, bench.sizes.many_ticket_types),
    ]


def _spread(ticket_types: int) -> str:
    return f"eventify_{ticket_types}_ticket_types_purchases_per_second"


def _comparisons(bench: Bench, measured: dict[str, Measured]) -> list[Figure]:
    hot = measured[HOT].rates
    return [
        Figure(
            name="eventify_against_straightforward_times",
            label="accepted and decided, against the straightforward design",
            unit="x",
            values=ratios(hot, measured[STRAIGHT].rates),
            target=at_least(15),
        ),
        percent_figure(
            "eventify_of_bare_two_processes_percent",
            "accepted and decided, of the bare function's two processes",
            hot,
            measured[BARE].rates,
        ),
        *(
            percent_figure(
                f"eventify_{count}_ticket_types_of_one_percent",
                f"{count:,} ticket types, of one",
                measured[_spread(count)].rates,
                hot,
                _target(count),
            )
            for count in bench.sizes.many_ticket_types
        ),
    ]


def _target(ticket_types: int) -> Target | None:
    return at_least(90) if ticket_types == 1_000 else None


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
