"""A queue of 100,000: a position is found with as little work as in a short one."""

import pytest
from sqlalchemy import Engine, text
from uuid_utils import uuid7

from gateway.purchases import read
from gateway.purchases.accept import Accepted
from purchase_worker import store as worker_store
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import session
from shared.database.prepared_statement import Prepared, array_literal
from tests.support.factories import (
    accept,
    add_ticket_type,
    add_user,
    event_of,
    ignore,
    queue,
    queue_many,
    request,
    rows,
    run,
)
from tests.support.plans import rows_read, scans

QUEUED = 100_000
EXACT = 1_000


@pytest.fixture
def ticket_type(engine: Engine) -> int:
    ticket_type_id = add_ticket_type(engine, QUEUED)
    queue_many(engine, ticket_type_id, QUEUED)
    run(engine, "ANALYZE requests, work_list")
    return ticket_type_id


def test_positions_are_exact_up_to_the_bound_and_estimated_from_above_beyond(
    engine: Engine, ticket_type: int
) -> None:
    ids = [str(row[0]) for row in rows(engine, "SELECT command_id FROM work_list ORDER BY seq")]
    asked = [0, 1, EXACT - 1, EXACT, 5 * EXACT, QUEUED - 1]
    found = read.read(engine, [ids[n] for n in asked], position_max_rows=EXACT)
    # As long as no other sale takes sequence numbers, even the estimate is exact. The other takes
    # one for its tickets, too.
    assert [found[ids[n]].position for n in asked] == asked
    other = add_ticket_type(engine, 49)
    accept(engine, [request(add_user(engine), other) for _ in range(49)])
    last = request(add_user(engine), ticket_type)
    (verdict,) = accept(engine, [last])
    assert isinstance(verdict, Accepted)
    assert verdict.position == QUEUED + 50
    # The 202 and the poll after it say the same.
    assert read.read(engine, [last.id], position_max_rows=EXACT)[last.id].position == QUEUED + 50


def test_a_poll_reads_no_more_of_the_queue_than_positions_are_exact(
    engine: Engine, ticket_type: int
) -> None:
    event = event_of(engine, ticket_type)
    statement = read.HEAD_OF_QUEUE.sql % {"event_id": event, "rows": EXACT}
    with engine.begin() as connection:
        ((plan,),) = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"))
    read_rows = {scan["Index Name"]: scan["Actual Rows"] for scan in scans(plan[0]["Plan"])}
    assert read_rows.pop("lanes_pkey") == 1
    assert read_rows == {"work_list_pkey": EXACT}


COUNTERS, LANES, QUEUE = "counters_pkey", "lanes_pkey", "work_list_pkey"
REQUESTS, OF_HOLDER = "requests_pkey", "requests_by_holder"
ANSWERS, OF_PURCHASE, HOLDS = "ledger_one_answer", "ledger_of_purchase", "holds_pkey"
# The indexes by which each statement of the drain comes to its rows. What triggers do with them
# scans no table in any case (migration 0012).
WAYS = {
    worker_store.LOCK_LANES: {LANES, COUNTERS},
    worker_store.READ_WORK: {QUEUE, REQUESTS, COUNTERS},
    worker_store.READ_OWNED: {OF_HOLDER, ANSWERS, OF_PURCHASE},
    worker_store.READ_PURCHASES: {REQUESTS, ANSWERS, OF_PURCHASE, HOLDS, COUNTERS},
    worker_store.WRITE: set(),
    worker_store.CLOSE_SOLD_OUT: {QUEUE, REQUESTS, COUNTERS},
    worker_store.QUEUED_AMONG: {QUEUE, LANES},
}


def ways(engine: Engine, prepared: Prepared, event: int) -> set[str]:
    """By which indexes, or else how, the plan of a statement comes to the rows of tables."""
    parameters = {
        "event_id": event,
        "event_ids": array_literal([event, event + 1]),
        "done_seqs": array_literal([0, 0]),
        "done_seq": 0,
        "whole": False,
        "rows": 500,
        "user_ids": array_literal([1, 2]),
        "buyers": array_literal(["", "anna"]),
        "ids": array_literal([str(uuid7())]),
        "purchase_ids": "{}",
        "entry_event_ids": array_literal([event]),
        "numbers": array_literal([1]),
        "command_ids": array_literal([str(uuid7())]),
        "kinds": array_literal(["confirmed"]),
        "reasons": array_literal([None]),
        "entry_ticket_type_ids": array_literal([1]),
        "changes": array_literal([-1]),
        "lefts": array_literal([1]),
        "items": "{}",
        "firsts": array_literal([1, 1]),
        "lasts": array_literal([1, 1]),
        "ats": "{2026-11-22T12:00:00.000000Z}",
        "lane_at": "2026-11-22T12:00:00.000000Z",
        "locked_lanes": 1,
        "seen": "1:1:",
        "decided_by": "test",
        "number": 0,
    }
    with session(engine) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(b"EXPLAIN (FORMAT JSON) " + prepared.bind(cursor, parameters))
        ((plan,),) = cursor.fetchall()
    return {
        scan.get("Index Name", scan["Node Type"])
        for scan in scans(plan[0]["Plan"])
        if scan.keys() & {"Index Name", "Relation Name"}
    }


def test_the_drain_walks_no_table_while_all_are_empty(engine: Engine) -> None:
    """A plan that was made then is kept while they grow."""
    event = event_of(engine, add_ticket_type(engine, 1))
    assert {statement: ways(engine, statement, event) for statement in WAYS} == WAYS


def test_the_drain_walks_no_table_of_a_deep_queue(engine: Engine, ticket_type: int) -> None:
    event = event_of(engine, ticket_type)
    assert {statement: ways(engine, statement, event) for statement in WAYS} == WAYS


def test_a_batch_costs_the_same_however_long_its_queue_and_ledger_are(
    engine: Engine, settings: Settings
) -> None:
    """And its ledger: also what triggers do, whose plans were made while tables were empty."""
    ticket_type = add_ticket_type(engine, QUEUED)
    event, user = event_of(engine, ticket_type), add_user(engine)
    small = settings.model_copy(update={"drain_batch_rows": 10, "drain_max_batches": 300})
    queue(engine, [request(user, ticket_type)])
    drain(engine, [event], small, ignore)
    queue_many(engine, ticket_type, QUEUED // 10)

    before = rows_read(engine)
    decided = drain(engine, [event], small, ignore).decided
    assert decided == 3_000
    # Each command is read in the work list, twice, and in the requests, twice.
    assert rows_read(engine) - before < 20 * decided
