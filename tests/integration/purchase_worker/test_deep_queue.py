"""A queue of 100,000: a position is found with as little work as in a short one."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text
from uuid_utils import uuid7

from gateway.purchases import read
from gateway.purchases.accept import Accepted
from purchase_worker import store as worker_store
from shared.database.engine import session
from shared.database.prepared_statement import Prepared, array_literal
from tests.support.factories import accept, add_ticket_type, add_user, request, rows, run

QUEUED = 100_000
EXACT = 1_000


@pytest.fixture
def ticket_type(engine: Engine) -> int:
    ticket_type_id = add_ticket_type(engine, QUEUED)
    buyer = add_user(engine)
    for _ in range(10):
        run(
            engine,
            "INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price,"
            " request_id) SELECT gen_random_uuid(), :user, :type, 1, 25, 'test'"
            " FROM generate_series(1, :rows)",
            user=buyer,
            type=ticket_type_id,
            rows=QUEUED // 10,
        )
    run(engine, "ANALYZE ticket_purchases")
    return ticket_type_id


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Scan" in node["Node Type"]:
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)


def test_positions_are_exact_up_to_the_bound_and_estimated_from_above_beyond(
    engine: Engine, ticket_type: int
) -> None:
    ids = [str(row[0]) for row in rows(engine, "SELECT id FROM ticket_purchases ORDER BY seq")]
    asked = [0, 1, EXACT - 1, EXACT, 5 * EXACT, QUEUED - 1]
    found = read.read(engine, [ids[n] for n in asked], position_max_rows=EXACT)
    # As long as no other sale takes sequence numbers, even the estimate is exact.
    assert [found[ids[n]].position for n in asked] == asked
    other = add_ticket_type(engine, 50)
    accept(engine, [request(add_user(engine), other) for _ in range(50)])
    last = request(add_user(engine), ticket_type)
    (verdict,) = accept(engine, [last])
    assert isinstance(verdict, Accepted)
    assert verdict.position == QUEUED + 50
    # The 202 and the poll after it say the same.
    assert read.read(engine, [last.id], position_max_rows=EXACT)[last.id].position == QUEUED + 50


def test_a_poll_reads_no_more_of_the_queue_than_positions_are_exact(
    engine: Engine, ticket_type: int
) -> None:
    statement = read.HEAD_OF_QUEUE.sql % {"ticket_type_id": ticket_type, "rows": EXACT}
    with engine.begin() as connection:
        ((plan,),) = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"))
    (scan,) = scans(plan[0]["Plan"])
    assert scan["Index Name"] == "ticket_purchases_queue"
    assert scan["Actual Rows"] == EXACT


INVENTORY, QUEUE, PURCHASES_OF_USER = (
    "ticket_inventory_pkey",
    "ticket_purchases_queue",
    "ticket_purchases_by_user",
)
# How each statement of the drain comes to its rows: by these indexes, by ctid, or by
# what it was given.
WAYS = {
    worker_store.LOCK_INVENTORIES: {INVENTORY, "ticket_types_pkey"},
    worker_store.READ_QUEUES: {QUEUE, "Function Scan"},
    worker_store.READ_HELD: {PURCHASES_OF_USER, "Function Scan", "Subquery Scan"},
    worker_store.WRITE: {INVENTORY, "Tid Scan", "Function Scan", "CTE Scan"},
    worker_store.CLOSE_SOLD_OUT: {INVENTORY, QUEUE, "Tid Scan", "Subquery Scan", "CTE Scan"},
    worker_store.QUEUED_AMONG: {QUEUE, "Function Scan"},
}


def ways(engine: Engine, prepared: Prepared, ticket_type: int) -> set[str]:
    """By which indexes, or else how, the plan of a statement comes to its rows."""
    parameters = {
        "ticket_type_id": ticket_type,
        "ticket_type_ids": array_literal([ticket_type, ticket_type + 1]),
        "rows": 500,
        "user_ids": array_literal([1, 2]),
        "firsts": array_literal([1, 1]),
        "lasts": array_literal([1, 1]),
        "solds": array_literal([1, 1]),
        "ctids": array_literal(["(0,1)"]),
        "ids": array_literal([str(uuid7())]),
        "numbers": array_literal([1]),
        "reasons": array_literal([None]),
        "lefts": array_literal([1]),
        "seen": "1:1:",
        "decided_by": "test",
        "decided_at": "2026-11-22T12:00:00.000000Z",
        "decisions": 0,
    }
    with session(engine) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(b"EXPLAIN (FORMAT JSON) " + prepared.bind(cursor, parameters))
        ((plan,),) = cursor.fetchall()
    return {scan.get("Index Name", scan["Node Type"]) for scan in scans(plan[0]["Plan"])}


def test_the_drain_walks_no_table_while_all_are_empty(engine: Engine) -> None:
    """A plan that was made then is kept while they grow."""
    empty = add_ticket_type(engine, 1)
    assert {statement: ways(engine, statement, empty) for statement in WAYS} == WAYS


def test_the_drain_walks_no_table_of_a_deep_queue(engine: Engine, ticket_type: int) -> None:
    assert {statement: ways(engine, statement, ticket_type) for statement in WAYS} == WAYS
