"""A past of millions of purchases, put into the database quickly.

The guards forbid to insert a decided purchase. So this is written as a replica writes
(`session_replication_role`), without triggers and foreign keys but with the CHECKs, and so that the
audit finds nothing: numbers without a gap, batches that had seen their rows, exact counters.
"""

from sqlalchemy import Engine, text

from loadtests.bench.system.rows import PRICE, add_ticket_types, without_limit

TICKET_TYPES = 100
# As many as the drain decides in one transaction.
BATCH = 500

AS_REPLICA = text("SET LOCAL session_replication_role = replica")
# In the order of acceptance the ticket types and the buyers take turns.
PURCHASES = text("""
WITH buyers AS (
    SELECT array_agg(id ORDER BY id) AS ids FROM users WHERE username LIKE 'buyer%'
)
INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price, idempotency_key,
                              fingerprint, request_id, status, decided_at, decision_number,
                              left_after)
SELECT uuidv7(), ids[1 + n % array_length(ids, 1)],
       (CAST(:ticket_types AS bigint[]))[1 + n % :types], 1, :price,
       'past-' || :first || '-' || n, '\\x00'::bytea, 'bench', 'confirmed', now(), 1 + n / :types,
       :each - 1 - n / :types
FROM buyers, generate_series(0, :each * :types - 1) n
""")
# In a transaction of their own, which sees the purchases as a drain would have seen them.
BATCHES = text("""
INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by)
SELECT id, start + 1, least(start + :batch, :each), pg_current_snapshot(), 'bench'
FROM unnest(CAST(:ticket_types AS bigint[])) id, generate_series(0, :each - 1, :batch) start
""")
COUNTERS = text("""
UPDATE ticket_inventory SET sold = :each, decisions = :each
WHERE ticket_type_id = ANY(:ticket_types)
""")


def add_past_sales(engine: Engine, purchases: int) -> None:
    """Confirmed purchases (a multiple of 100) of a hundred sold-out ticket types."""
    each = purchases // TICKET_TYPES
    types = add_ticket_types(engine, TICKET_TYPES, capacity=each)
    parameters = {"ticket_types": types, "types": TICKET_TYPES, "each": each, "batch": BATCH}
    with engine.begin() as connection:
        without_limit(connection)
        connection.execute(AS_REPLICA)
        connection.execute(PURCHASES, parameters | {"first": types[0], "price": PRICE})
    with engine.begin() as connection:
        without_limit(connection)
        connection.execute(AS_REPLICA)
        connection.execute(BATCHES, parameters)
        connection.execute(COUNTERS, parameters)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        # As autovacuum would have done over the days in which such a past comes together.
        connection.exec_driver_sql("VACUUM ANALYZE ticket_purchases, decision_batches")
        connection.exec_driver_sql("CHECKPOINT")
        connection.exec_driver_sql("RESET statement_timeout")
