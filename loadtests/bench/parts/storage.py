"""A million purchases without a vacuum: what each takes in the database, and the drain's speed."""

from loadtests.bench.parts.drain import BUYERS
from loadtests.bench.report.figures import Figure, at_least, percent_figure
from loadtests.bench.system.drain_process import drain_all
from loadtests.bench.system.rows import (
    add_buyers,
    add_ticket_types,
    event_of,
    queue_purchases,
)
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process
from shared.database.engine import open_engine
from shared.database.migrate import migrate

TABLES = ("requests", "work_list", "ledger", "batches", "lanes", "counters")
NO_VACUUM = "; ".join(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in TABLES)
BYTES = "SELECT " + " + ".join(f"pg_total_relation_size('{table}')" for table in TABLES)


def measure(bench: Bench) -> list[Figure]:
    """Queue after queue of one event; the first turns are compared with the last."""
    turns, each = bench.sizes.unvacuumed // bench.sizes.drained, bench.sizes.drained
    settings = bench.system.create_database("storage")
    engine = open_engine(settings, "bench-storage")
    migrate(engine)
    add_buyers(engine, BUYERS)
    (hot,) = add_ticket_types(engine, 1)
    with engine.begin() as connection:
        connection.exec_driver_sql(NO_VACUUM)
        empty: int = connection.exec_driver_sql(BYTES).scalar_one()
    rates = []
    with spawned_process() as process:
        for _ in range(turns):
            queue_purchases(engine, hot, each)
            drained = process.submit(drain_all, settings, event_of(engine, hot), False).result()
            rates.append(each / drained.seconds)
    with engine.connect() as connection:
        full: int = connection.exec_driver_sql(BYTES).scalar_one()
    engine.dispose()
    rounds = min(bench.sizes.rounds, turns)
    fresh, late = rates[:rounds], rates[-rounds:]
    bench.say(f"  {fresh[0]:,.0f} decisions/s at first, {late[-1]:,.0f} at last")
    return [
        Figure(
            name="storage_bytes_of_a_decided_purchase",
            label="a decided purchase in the database, with indexes",
            unit="B",
            values=[(full - empty) / (turns * each)],
        ),
        percent_figure(
            "storage_drain_without_a_vacuum_of_fresh_percent",
            f"drain after {turns * each:,} purchases without a vacuum, of fresh",
            late,
            fresh,
            at_least(90),
        ),
    ]
