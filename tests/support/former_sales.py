"""Sells as versions before the ledger did, on their schema (migrations 0001 to 0009).

Their guards check each row.
"""

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, lower case there
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from uuid_utils import uuid7

from shared.database.engine import cursor_transaction
from tests.support.factories import add_event, scalar

# The tables come in the order in which migrations lock them.
ACCEPT = """
WITH verdict AS MATERIALIZED (
    SELECT r.*, t.id AS ticket_type_id, price, max_per_user
    FROM (VALUES %s) AS r (id, user_id, quantity, key)
    JOIN users u ON u.id = r.user_id
    JOIN ticket_inventory i ON i.ticket_type_id = {ticket_type_id}
    JOIN ticket_types t ON t.id = i.ticket_type_id
)
INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price, user_limit,
                              idempotency_key, fingerprint, request_id)
SELECT id::uuid, user_id, ticket_type_id, quantity, price, max_per_user, key, sha256(key::bytea),
       'request ' || id
FROM verdict
"""
LOCK = """
SELECT issued - sold, decisions, (SELECT event_id FROM ticket_types WHERE id = i.ticket_type_id)
FROM ticket_inventory i WHERE ticket_type_id = %s FOR NO KEY UPDATE OF i
"""
READ = """
SELECT id::text, user_id, quantity, user_limit, created_at, pg_current_snapshot()::text, now()
FROM ticket_purchases WHERE ticket_type_id = %s AND status = 'queued' ORDER BY seq LIMIT %s
"""
READ_HELD = """
SELECT user_id, sum(quantity) FROM ticket_purchases
WHERE ticket_type_id = %s AND user_id = ANY(%s) AND status = 'confirmed' GROUP BY user_id
"""
WRITE = """
UPDATE ticket_purchases p
SET status = CASE WHEN d.reason IS NULL THEN 'confirmed' ELSE 'rejected' END,
    reason = d.reason, decided_at = d.at, decision_number = d.number, left_after = d.left_after
FROM (VALUES %s) AS d (id, number, reason, left_after, at) WHERE p.id = d.id::uuid
"""
RECORD = """
INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by,
                              decided_at)
VALUES (%(ticket_type_id)s, %(first)s, %(last)s, %(seen)s, 'host:1', %(at)s);
UPDATE ticket_inventory SET sold = sold + %(sold)s, decisions = %(last)s
WHERE ticket_type_id = %(ticket_type_id)s
"""


def add_former_ticket_type(
    engine: Engine, capacity: int, event_id: int | None = None, max_per_user: int | None = None
) -> int:
    """By default of an event of its own."""
    ticket_type_id: int = scalar(
        engine,
        "WITH made AS (INSERT INTO ticket_types (event_id, name, price, max_per_user)"
        " VALUES (:event_id, 'Standing', 25, :max_per_user) RETURNING id)"
        " INSERT INTO ticket_inventory (ticket_type_id, issued) SELECT id, :capacity FROM made"
        " RETURNING ticket_type_id",
        event_id=event_id or add_event(engine),
        max_per_user=max_per_user,
        capacity=capacity,
    )
    return ticket_type_id


def former_issue(engine: Engine, ticket_type_id: int, change: int, user_id: int = 0) -> None:
    """`user_id` 0: by SQL, where nobody is named."""
    with cursor_transaction(engine) as cursor:
        cursor.execute("SELECT set_config('eventify.user_id', %s, true)", [str(user_id or "")])
        cursor.execute(
            "UPDATE ticket_inventory SET issued = issued + %s WHERE ticket_type_id = %s",
            [change, ticket_type_id],
        )


def former_accept(
    engine: Engine,
    ticket_type_id: int,
    user_ids: Sequence[int],
    quantity: int = 1,
    key: str | None = None,
) -> None:
    """A request of each user, in one transaction."""
    rows = [(str(uuid7()), user_id, quantity, key) for user_id in user_ids]
    with cursor_transaction(engine) as cursor:
        _values(
            cursor, ACCEPT.format(ticket_type_id=ticket_type_id), rows, "(%s, %s, %s, %s::text)"
        )


def former_drain(engine: Engine, ticket_type_id: int, rows: int = 100) -> int:
    """Decide the oldest queued requests in a batch; returns how many."""
    with cursor_transaction(engine) as cursor:
        cursor.execute(LOCK, [ticket_type_id])
        ((left, number, _event_id),) = cursor.fetchall()
        cursor.execute(READ, [ticket_type_id, rows])
        queued = cursor.fetchall()
        if not queued:
            return 0
        cursor.execute(READ_HELD, [ticket_type_id, [row[1] for row in queued]])
        held = dict(cursor.fetchall())
        first, before, decided = number + 1, left, []
        *_, seen, now = queued[0]
        at = max(now, *(row[4] for row in queued))
        for id_, user_id, quantity, user_limit, *_ in queued:
            number += 1
            holds = held.get(user_id, 0) + quantity
            reason = None
            if quantity > left:
                reason = "not_enough_tickets"
            elif user_limit is not None and holds > user_limit:
                reason = "over_user_limit"
            else:
                left -= quantity
                held[user_id] = holds
            decided.append((id_, number, reason, left, at))
        _values(cursor, WRITE, decided, "(%s, %s, %s::text, %s, %s)")
        values = {"ticket_type_id": ticket_type_id, "first": first, "last": number}
        cursor.execute(RECORD, values | {"seen": seen, "at": at, "sold": before - left})
        return len(queued)


def _values(cursor: Cursor, statement: str, rows: Sequence[Any], form: str) -> None:
    execute_values(cursor, statement, rows, template=form, page_size=len(rows))
