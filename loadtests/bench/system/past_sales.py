"""A past of millions of purchases, put into the database quickly.

A drain would take minutes, and the guards let nothing else decide. So this is written as a replica
writes (`session_replication_role`), without triggers and foreign keys but with the CHECKs, and so
that the audit finds nothing: numbers without a gap, batches that had seen their requests, exact
counters.
"""

import time

from sqlalchemy import Engine, text

from loadtests.bench.system.rows import PRICE, add_ticket_types, without_limit
from shared.config.settings import Settings

EVENTS = 100
# Of millions: the sweeper's pause, and what it reads.
CHECKED_MIN = 1_000_000
CHECKED_SECONDS = Settings.model_fields["counter_watch_seconds"].default + 5
# As many as the drain decides in one transaction.
BATCH = 500

AS_REPLICA = text("SET LOCAL session_replication_role = replica")
# In the order of acceptance the events and the buyers take turns.
REQUESTS = text("""
WITH buyers AS (
    SELECT array_agg(id ORDER BY id) AS ids FROM users WHERE username LIKE 'buyer%'
), types AS (
    SELECT array_agg(id ORDER BY id) AS ids, array_agg(event_id ORDER BY id) AS event_ids
    FROM ticket_types WHERE id = ANY(:ticket_types)
)
INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency,
                      idempotency_key, fingerprint, request_id)
SELECT uuidv7(), types.event_ids[1 + n % :events], buyers.ids[1 + n % array_length(buyers.ids, 1)],
       types.ids[1 + n % :events], 1, :price, 'EUR', gen_random_uuid(),
       uuid_send(gen_random_uuid()), gen_random_uuid()
FROM buyers, types, generate_series(0, :each * :events - 1) n
""")
# In a transaction of their own, which sees the requests as a drain would have seen them. The first
# entry of each event issued its tickets.
LEDGER = text("""
INSERT INTO ledger (event_id, number, command_id, kind, ticket_type_id, change, left_after)
SELECT event_id, 1 + nth, id, 'confirmed', ticket_type_id, -1, :each - nth
FROM (SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY seq) AS nth
      FROM requests WHERE kind = 'buy' AND ticket_type_id = ANY(:ticket_types)) r
""")
BATCHES = text("""
INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
SELECT event_id, start + 2, least(start + 1 + :batch, :each + 1), now(), pg_current_snapshot(),
       'bench'
FROM ticket_types, generate_series(0, :each - 1, :batch) start WHERE id = ANY(:ticket_types)
""")
LANES = text("""
UPDATE lanes SET number = :each + 1, at = now()
WHERE event_id IN (SELECT event_id FROM ticket_types WHERE id = ANY(:ticket_types))
""")
COUNTERS = text("UPDATE counters SET sold = :each WHERE ticket_type_id = ANY(:ticket_types)")


def add_past_sales(engine: Engine, purchases: int) -> None:
    """Confirmed purchases (a multiple of 100) of a hundred sold-out events.

    Returns when the sweeper has compared them with their counters: it reads each entry once.
    """
    each = purchases // EVENTS
    types = add_ticket_types(engine, EVENTS, capacity=each, events=EVENTS)
    parameters = {"ticket_types": types, "events": EVENTS, "each": each, "batch": BATCH}
    with engine.begin() as connection:
        without_limit(connection)
        connection.execute(AS_REPLICA)
        connection.execute(REQUESTS, parameters | {"price": PRICE})
    with engine.begin() as connection:
        without_limit(connection)
        connection.execute(AS_REPLICA)
        for statement in (LEDGER, BATCHES, LANES, COUNTERS):
            connection.execute(statement, parameters)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        # As autovacuum would have done over the days in which such a past comes together.
        connection.exec_driver_sql("VACUUM ANALYZE requests, ledger, batches")
        connection.exec_driver_sql("CHECKPOINT")
        connection.exec_driver_sql("RESET statement_timeout")
    if purchases >= CHECKED_MIN:
        time.sleep(CHECKED_SECONDS)
