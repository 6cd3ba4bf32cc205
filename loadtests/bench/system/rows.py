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
    SELECT 'Benchmark', now() + interval '30 days', now() + interval '31 days', id
    FROM owner, generate_series(1, :events) RETURNING id
)
INSERT INTO ticket_types (event_id, name, price)
SELECT event.id, 'Type ' || n, :price FROM event, generate_series(1, :each) n RETURNING id
""")
ISSUE = text("SELECT eventify_issue(id, :capacity) FROM unnest(CAST(:ids AS bigint[])) id")
EVENT = text("SELECT event_id FROM ticket_types WHERE id = :id")
# As the gateway's own statement writes them, with keys; the users take turns.
QUEUE = text("""
WITH buyers AS (
    SELECT array_agg(id ORDER BY id) AS ids FROM users WHERE username LIKE 'buyer%'
)
INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency,
                      idempotency_key, fingerprint, request_id, hold_seconds)
SELECT uuidv7(), event_id, ids[1 + n % array_length(ids, 1)], t.id, 1, price, 'EUR',
       gen_random_uuid(), uuid_send(gen_random_uuid()), gen_random_uuid(),
       CAST(:hold_seconds AS integer)
FROM buyers, ticket_types t, generate_series(1, :count) n WHERE t.id = :ticket_type_id
""")


def add_buyers(engine: Engine, count: int) -> None:
    """Users `buyer1` to `buyer<count>`."""
    with engine.begin() as connection:
        connection.execute(ADD_USERS, {"name": "buyer", "count": count})


def add_ticket_types(
    engine: Engine, count: int, *, capacity: int = PLENTY, events: int = 1
) -> list[int]:
    """Ticket types of one event, or shared out over several; returns their ids."""
    with engine.begin() as connection:
        without_limit(connection)
        parameters = {"events": events, "each": count // events, "price": PRICE}
        ids = sorted(connection.scalars(ADD_TICKET_TYPES, parameters))
        connection.execute(ISSUE, {"ids": ids, "capacity": capacity})
    return ids


def event_of(engine: Engine, ticket_type_id: int) -> int:
    with engine.connect() as connection:
        event_id: int = connection.execute(EVENT, {"id": ticket_type_id}).scalar_one()
    return event_id


def queue_purchases(
    engine: Engine, ticket_type_id: int, count: int, *, hold_seconds: int | None = None
) -> None:
    """Queued purchases of one ticket each, as if a gateway had just accepted them."""
    with engine.begin() as connection:
        without_limit(connection)
        parameters = {"ticket_type_id": ticket_type_id, "count": count}
        connection.execute(QUEUE, parameters | {"hold_seconds": hold_seconds})


def without_limit(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
