"""The drain alone: decisions a second of one hot event, beside the same SQL without Python."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count

import msgspec

from loadtests.bench.report.figures import Figure, at_least, percent_figure
from loadtests.bench.system.drain_process import DrainTiming, drain_all, send_again, write_down
from loadtests.bench.system.eventify import BenchSystem
from loadtests.bench.system.processes import cpu_seconds
from loadtests.bench.system.rows import (
    add_buyers,
    add_ticket_types,
    event_of,
    queue_purchases,
)
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.rounds import Contender, TurnResult, take_turns
from loadtests.spawned import spawned_process
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate

QUEUED_DATABASE = "drain_queued"
BUYERS = 1_000
DECIDED = "SELECT count(*) FROM ledger WHERE kind <> 'issued'"


def measure(bench: Bench) -> list[Figure]:
    """Decisions a second, each turn on a fresh copy of the same queue."""
    copies = _Copies(bench.system)
    hot = _fill(copies.original, bench.sizes.drained)
    with spawned_process() as process:
        contenders = _contenders(bench, copies, process, hot)
        measured = take_turns(contenders, bench.sizes.rounds, bench.say)
    sql, drain, publishing = measured.values()
    return [
        sql.figure("/s"),
        msgspec.structs.replace(drain.figure("/s"), target=at_least(50_000)),
        msgspec.structs.replace(publishing.figure("/s"), target=at_least(38_000)),
        percent_figure(
            "drain_of_sql_alone_percent",
            "drain without publishing, of its SQL alone",
            drain.rates,
            sql.rates,
            at_least(70),
        ),
        percent_figure(
            "drain_publishing_of_sql_alone_percent",
            "drain publishing, of its SQL alone",
            publishing.rates,
            sql.rates,
        ),
        *publishing.costs("worker", "postgres"),
    ]


def _contenders(
    bench: Bench, copies: "_Copies", process: ProcessPoolExecutor, hot: int
) -> list[Contender]:
    script = process.submit(write_down, copies.new(), hot).result()

    def contender(name: str, label: str, work: Callable[[Settings], DrainTiming]) -> Contender:
        return Contender(name, label, lambda: _turn(bench, copies.new(), work))

    return [
        contender(
            "drain_sql_alone_decisions_per_second",
            "the drain's SQL alone, one hot event",
            lambda copy: process.submit(send_again, copy, script).result(),
        ),
        contender(
            "drain_decisions_per_second",
            "drain, one hot event, without publishing",
            lambda copy: process.submit(drain_all, copy, hot, False).result(),
        ),
        contender(
            "drain_publishing_decisions_per_second",
            "drain, one hot event, publishing results",
            lambda copy: process.submit(drain_all, copy, hot, True).result(),
        ),
    ]


def _turn(bench: Bench, copy: Settings, work: Callable[[Settings], DrainTiming]) -> TurnResult:
    """Of CPU time: the process's own and PostgreSQL's."""
    postgres = [bench.system.pids["postgres"]]
    before = cpu_seconds(postgres)
    drained = work(copy)
    cpu = {"worker": drained.cpu_seconds, "postgres": cpu_seconds(postgres) - before}
    decided = _decided(copy)
    if decided != bench.sizes.drained:
        bench.errors.append(f"{decided:,} of {bench.sizes.drained:,} were drained")
    return TurnResult(decided, drained.seconds, sum(cpu.values()), cpu_of_services=cpu)


def _decided(settings: Settings) -> int:
    """Counted in the rows, whatever a process reports."""
    engine = open_engine(settings, "bench-count")
    with engine.connect() as connection:
        decided: int = connection.exec_driver_sql(DECIDED).scalar_one()
    engine.dispose()
    return decided


class _Copies:
    """Databases that are alike to the ctid of each row, for nothing has worked on them yet."""

    def __init__(self, system: BenchSystem) -> None:
        self._system = system
        self._numbers = count(1)
        self.original = system.create_database(QUEUED_DATABASE)

    def new(self) -> Settings:
        return self._system.create_database(f"drain_{next(self._numbers)}", QUEUED_DATABASE)


def _fill(settings: Settings, queued: int) -> int:
    """The schema, and one event with this many queued; returns its id."""
    engine = open_engine(settings, "bench-fill")
    migrate(engine)
    add_buyers(engine, BUYERS)
    (hot,) = add_ticket_types(engine, 1)
    queue_purchases(engine, hot, queued)
    event_id = event_of(engine, hot)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return event_id
