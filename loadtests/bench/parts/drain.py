"""The drain alone: decisions a second on one hot row, beside its own SQL with no Python between."""

from collections.abc import Callable
from contextlib import closing
from itertools import count

import msgspec
import psycopg2
from sqlalchemy import make_url

from loadtests.bench.report.figures import Figure, at_least, percents
from loadtests.bench.system.drain_process import DrainProcess, DrainTiming, drain_process
from loadtests.bench.system.processes import cpu_seconds
from loadtests.bench.system.rows import add_buyers, add_ticket_types, queue_purchases
from loadtests.bench.turns.bench import Bench
from loadtests.bench.turns.rounds import Contender, TurnResult, take_turns
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate

# Apart from the system's own database, whose sweeper would decide these queues.
QUEUED_DATABASE = "drain_queued"
BUYERS = 1_000
DECIDED = "SELECT count(*) FROM ticket_purchases WHERE decision_number IS NOT NULL"


def measure(bench: Bench) -> list[Figure]:
    """Decisions a second, each turn on a fresh copy of the same queue."""
    copies = _Copies(bench.system.settings)
    hot = _fill(copies.original, bench.sizes.drained)
    with drain_process() as process:
        contenders = _contenders(bench, copies, process, hot)
        measured = take_turns(contenders, bench.sizes.rounds, bench.say)
    sql, drain, publishing = measured.values()
    return [
        sql.figure("/s"),
        msgspec.structs.replace(drain.figure("/s"), target=at_least(30_000)),
        publishing.figure("/s"),
        Figure(
            name="drain_of_sql_alone_percent",
            label="drain telling nobody, of its SQL alone",
            unit="%",
            values=percents(drain.rates, sql.rates),
            target=at_least(70),
        ),
        Figure(
            name="drain_publishing_of_sql_alone_percent",
            label="drain publishing, of its SQL alone",
            unit="%",
            values=percents(publishing.rates, sql.rates),
        ),
    ]


def _contenders(
    bench: Bench, copies: "_Copies", process: DrainProcess, hot: int
) -> list[Contender]:
    script = process.write_down(copies.new(), hot)

    def contender(name: str, label: str, work: Callable[[Settings], DrainTiming]) -> Contender:
        return Contender(name, label, lambda: _turn(bench, copies.new(), work))

    return [
        contender(
            "drain_sql_alone_decisions_per_second",
            "the drain's SQL alone, one hot row",
            lambda copy: process.send_again(copy, script),
        ),
        contender(
            "drain_decisions_per_second",
            "drain, one hot row, telling nobody",
            lambda copy: process.drain_all(copy, hot, publish=False),
        ),
        contender(
            "drain_publishing_decisions_per_second",
            "drain, one hot row, publishing results",
            lambda copy: process.drain_all(copy, hot, publish=True),
        ),
    ]


def _turn(bench: Bench, copy: Settings, work: Callable[[Settings], DrainTiming]) -> TurnResult:
    """Of CPU time: the process's own and PostgreSQL's."""
    postgres = [bench.system.pids["postgres"]]
    before = cpu_seconds(postgres)
    drained = work(copy)
    cpu = cpu_seconds(postgres) - before + drained.cpu_seconds
    decided = _decided(copy)
    if decided != bench.sizes.drained:
        bench.errors.append(f"{decided:,} of {bench.sizes.drained:,} were drained")
    return TurnResult(decided, drained.seconds, cpu)


def _decided(settings: Settings) -> int:
    """As the rows tell, whatever a process says that it did."""
    engine = open_engine(settings, "bench-count")
    with engine.connect() as connection:
        decided: int = connection.exec_driver_sql(DECIDED).scalar_one()
    engine.dispose()
    return decided


class _Copies:
    """Databases that are alike to the place of each row, for nothing has worked on them yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._numbers = count(1)
        self._create(f"CREATE DATABASE {QUEUED_DATABASE}")
        self.original = self._of(QUEUED_DATABASE)

    def new(self) -> Settings:
        """The settings of a process that works on a new copy."""
        name = f"drain_{next(self._numbers)}"
        self._create(f"CREATE DATABASE {name} TEMPLATE {QUEUED_DATABASE}")
        return self._of(name)

    def _of(self, database: str) -> Settings:
        url = make_url(self._settings.database_url).set(database=database)
        return self._settings.model_copy(
            update={"database_url": url.render_as_string(hide_password=False)}
        )

    def _create(self, statement: str) -> None:
        with closing(psycopg2.connect(self._settings.database_url)) as connection:
            connection.autocommit = True  # it stands in no transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)


def _fill(settings: Settings, queued: int) -> int:
    """The schema, and one ticket type with so many queued; returns its id."""
    engine = open_engine(settings, "bench-fill")
    migrate(engine)
    add_buyers(engine, BUYERS)
    (hot,) = add_ticket_types(engine, 1)
    queue_purchases(engine, hot, queued)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return hot
