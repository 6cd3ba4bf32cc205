"""Rows that a measurement begins with, put into the database by SQL."""

from sqlalchemy import Connection, Engine, text

# Never sold out; the counters are bounded by a thousand million.
PLENTY = 1_000_000_000
PRICE = "25.00"

ADD_USERS = text("""
INSERT INTO users (username) SELECT :name || n FROM generate_series(1, :count) n
ON CONFLICT DO NOTHING
""")
ADD_TICKET_TYPES = text("""
WITH owner AS (
    INSERT INTO users (username) VALUES ('organiser-' || gen_random_uuid()) RETURNING id
), event AS (
    INSERT INTO events (title, start_time, end_time, owner_id)
    SELECT 'Benchmark', now() + interval '30 days', now() + interval '31 days', id FROM owner
    RETURNING id
), made AS (
    INSERT INTO ticket_types (event_id, name, price)
    SELECT event.id, 'Type ' || n, :price FROM event, generate_series(1, :count) n RETURNING id
)
INSERT INTO ticket_inventory (ticket_type_id, issued) SELECT id, :capacity FROM made
RETURNING ticket_type_id
""")
# As the gateway's own statement writes them, with keys; the users take turns.
QUEUE = text("""
WITH buyers AS (
    SELECT array_agg(id ORDER BY id) AS ids FROM users WHERE username LIKE 'buyer%'
)
INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price, idempotency_key,
                              fingerprint, request_id)
SELECT uuidv7(), ids[1 + n % array_length(ids, 1)], :ticket_type_id, 1, :price,
       'queued-' || :ticket_type_id || '-' || n, '\\x00'::bytea, 'bench'
FROM buyers, generate_series(1, :count) n
""")


def add_buyers(engine: Engine, count: int) -> None:
    """Users `buyer1` to `buyer<count>`."""
    with engine.begin() as connection:
        connection.execute(ADD_USERS, {"name": "buyer", "count": count})


def add_ticket_types(engine: Engine, count: int, *, capacity: int = PLENTY) -> list[int]:
    """Ticket types of one event; returns their ids."""
    with engine.begin() as connection:
        parameters = {"count": count, "capacity": capacity, "price": PRICE}
        return sorted(connection.scalars(ADD_TICKET_TYPES, parameters))


def queue_purchases(engine: Engine, ticket_type_id: int, count: int) -> None:
    """Queued purchases of one ticket each, as if a gateway had just accepted them."""
    with engine.begin() as connection:
        without_limit(connection)
        connection.execute(
            QUEUE, {"ticket_type_id": ticket_type_id, "count": count, "price": PRICE}
        )


def without_limit(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
