"""Bytes of WAL for a purchase, accepted and decided: what each commit has to flush.

Buyers are random, as in a sale, so each purchase changes index pages that no other has changed: the
first change of a page after a checkpoint writes the whole page.
"""

from sqlalchemy import text

from loadtests.bench.report.figures import Figure
from loadtests.bench.system.drain_process import drain_all
from loadtests.bench.system.rows import (
    add_buyers,
    add_ticket_types,
    event_of,
    without_limit,
)
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process
from shared.database.engine import open_engine
from shared.database.migrate import migrate

BUYERS = 100_000
# Turns before the checkpoint and after it, and the part of a turn that is counted apart.
STORED, LATER = 3, 2
PARTS = 8
# Each with a key of its own, as clients have them, and an id in the order of time, as of gateways.
QUEUE = text("""
INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency,
                      idempotency_key, fingerprint, request_id)
SELECT uuidv7(), :event, (SELECT min(id) FROM users WHERE username = 'buyer1')
           + floor(random() * :buyers)::int, :ticket_type, 1, 25, 'EUR', gen_random_uuid(),
       decode(md5(nth::text), 'hex'), gen_random_uuid()
FROM generate_series(1, :count) nth
""")
WRITTEN = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")


def measure(bench: Bench) -> list[Figure]:
    each = bench.sizes.drained
    first = each // PARTS
    settings = bench.system.create_database("wal")
    engine = open_engine(settings, "bench-wal")
    migrate(engine)
    add_buyers(engine, BUYERS)
    (hot,) = add_ticket_types(engine, 1)
    event = event_of(engine, hot)
    with (
        spawned_process() as process,
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as asking,
    ):

        def bytes_each(count: int) -> float:
            row = {"event": event, "ticket_type": hot, "buyers": BUYERS, "count": count}
            before: int = asking.execute(WRITTEN).scalar_one()
            with engine.begin() as connection:
                without_limit(connection)
                connection.execute(QUEUE, row)
            process.submit(drain_all, settings, event, False).result()
            found: float = (asking.execute(WRITTEN).scalar_one() - before) / count
            bench.say(f"  {found:,.0f} bytes of WAL for each of {count:,}")
            return found

        for _ in range(STORED):
            bytes_each(each)
        asking.exec_driver_sql("SET statement_timeout = 0")
        asking.exec_driver_sql("CHECKPOINT")
        after_checkpoint = bytes_each(first)
        for _ in range(LATER):
            later = bytes_each(each)
    engine.dispose()
    return [
        Figure(
            name="wal_bytes_of_a_purchase_after_a_checkpoint",
            label=f"WAL of a purchase, the first {first:,} after a checkpoint",
            unit="B",
            values=[after_checkpoint],
        ),
        Figure(
            name="wal_bytes_of_a_purchase",
            label=f"WAL of a purchase, when {first + (LATER - 1) * each:,} came before",
            unit="B",
            values=[later],
        ),
    ]
