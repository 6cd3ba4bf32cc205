"""The sweeper: what has been queued too long is decided, with or without Redis."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from purchase_worker import expiry
from purchase_worker.drain import Batch
from purchase_worker.runtime import Runtime
from purchase_worker.sweep import TRY_ELECTION, sweep
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE, statement
from tests.support.factories import (
    add_ticket_type,
    add_users,
    counter,
    entries,
    event_of,
    make_trouble,
    outcomes,
    queue,
    queue_buy,
    queue_issue,
    request,
    rows,
    run,
    tamper,
)
from tests.support.plans import scans
from tests.support.services import running_service
from tests.support.waiting import eventually

LONG = 10.0


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """A sweeper whose Redis is unavailable."""
    runtime = Runtime(
        settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}), "test-sweeper"
    )
    yield runtime
    runtime.close()


def grow_old(engine: Engine, minutes: int = 1) -> None:
    """Make what is queued look as if it had been so for some minutes."""
    tamper(engine, f"UPDATE requests SET created_at = created_at - interval '{minutes} minute'")


def statuses(engine: Engine, ticket_type: int) -> set[str]:
    return {status for _, status, _ in outcomes(engine, ticket_type)}


def test_decides_what_was_queued_too_long_without_redis(engine: Engine, runtime: Runtime) -> None:
    ticket_types = [add_ticket_type(engine, 3) for _ in range(3)]
    for ticket_type in ticket_types:
        queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    grow_old(engine)
    assert sweep(runtime) == 15
    for ticket_type in ticket_types:
        assert statuses(engine, ticket_type) == {"confirmed", "rejected"}


def test_recent_requests_are_left_to_the_workers(engine: Engine, runtime: Runtime) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    assert sweep(runtime) == 0
    assert statuses(engine, ticket_type) == {"queued"}


def test_of_several_sweepers_one_is_elected(engine: Engine, runtime: Runtime) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    grow_old(engine)
    with engine.connect() as elected:
        assert elected.exec_driver_sql(TRY_ELECTION).scalar_one() is True
        assert sweep(runtime) == 0
    assert sweep(runtime) == 5


def test_a_pass_keeps_no_table_locked(engine: Engine, runtime: Runtime) -> None:
    """Else a migration and the sweeper would wait for one another."""
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    grow_old(engine)
    lock = "LOCK TABLE requests, work_list, ledger, lanes IN ACCESS EXCLUSIVE MODE NOWAIT"
    runtime.publish = lambda _batch: run(engine, lock)  # type: ignore[method-assign]
    assert sweep(runtime) == 5


def test_a_sweeper_that_stalls_in_a_pass_is_replaced_by_another(
    engine: Engine, settings: Settings, runtime: Runtime
) -> None:
    first, second = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, first)])
    grow_old(engine)
    still, go_on = threading.Event(), threading.Event()

    def stand_still(_batch: Batch) -> None:
        still.set()
        assert go_on.wait(timeout=LONG)

    impatient = Runtime(settings.model_copy(update={"sweep_election_seconds": 0.1}), "test-sweeper")
    impatient.publish = stand_still  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as thread:
        standing = thread.submit(sweep, impatient)
        assert still.wait(timeout=LONG)
        queue(engine, [request(user, second)])
        grow_old(engine)

        def another_sweeps() -> None:
            assert sweep(runtime) == 1

        eventually(another_sweeps)
        go_on.set()
        with pytest.raises(DATABASE_UNAVAILABLE):
            standing.result()
    impatient.close()
    assert statuses(engine, first) == statuses(engine, second) == {"confirmed"}


def test_decides_what_was_accepted_before_the_clock_was_set_back(
    engine: Engine, runtime: Runtime
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    grow_old(engine, minutes=-60)
    assert sweep(runtime) == 5


def test_an_event_whose_row_another_keeps_locked_blocks_no_other(
    engine: Engine, settings: Settings
) -> None:
    """Not its lane, which would be skipped, but its counter, which is waited for."""
    locked, free = add_ticket_type(engine, 3), add_ticket_type(engine, 3)
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, locked), request(user, free)])
    grow_old(engine)
    impatient = Runtime(settings.model_copy(update={"lock_timeout_ms": 50}), "test-sweeper")
    with engine.connect() as other:
        other.exec_driver_sql(f"SELECT FROM counters WHERE ticket_type_id = {locked} FOR UPDATE")
        assert sweep(impatient) == 1
        other.rollback()
    assert statuses(engine, free) == {"confirmed"}
    assert sweep(impatient) == 1
    impatient.close()


def test_a_resolution_that_was_queued_too_long_is_decided_too(
    engine: Engine, runtime: Runtime
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue_issue(engine, ticket_type, 2)
    assert sweep(runtime) == 0
    grow_old(engine)
    assert sweep(runtime) == 1
    assert counter(engine, ticket_type) == (5, 0)


def test_the_sweeper_process_decides_and_stops_at_sigterm(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    quick = settings.model_copy(
        update={"sweep_after_seconds": 0.05, "sweep_interval_seconds": 0.05}
    )
    with running_service("purchase_worker.sweep", Settings(**quick.model_dump())) as process:

        def all_decided() -> None:
            assert statuses(engine, ticket_type) == {"confirmed", "rejected"}

        eventually(all_decided)
    assert process.returncode == 0
    assert counter(engine, ticket_type) == (3, 3)


def test_ends_holds_that_are_due_and_sells_what_came_back(engine: Engine, runtime: Runtime) -> None:
    ticket_type = add_ticket_type(engine, 2)
    held = [queue_buy(engine, [(ticket_type, 1)], hold_seconds=600) for _ in range(2)]
    runtime.drain([event_of(engine, ticket_type)])
    assert sweep(runtime) == 0
    tamper(engine, "UPDATE holds SET ends_at = ends_at - interval '600 seconds'")
    next_buyers = [queue_buy(engine, [(ticket_type, 1)], hold_seconds=600) for _ in range(2)]

    assert sweep(runtime) == 4
    assert entries(engine, event_of(engine, ticket_type))[1:] == [
        *[("held", None)] * 2,
        *[("expired", None)] * 2,
        *[("held", None)] * 2,
    ]
    open_holds = rows(engine, "SELECT purchase_id::text FROM holds")
    assert {row[0] for row in open_holds} == set(next_buyers)
    assert set(next_buyers).isdisjoint(held)


def test_an_event_that_cannot_be_decided_keeps_no_other_hold_open(
    engine: Engine, runtime: Runtime
) -> None:
    ticket_types = [add_ticket_type(engine, 1) for _ in range(3)]
    for ticket_type in ticket_types:
        queue_buy(engine, [(ticket_type, 1)], hold_seconds=600)
    events = [event_of(engine, ticket_type) for ticket_type in ticket_types]
    runtime.drain(events)
    tamper(engine, "UPDATE holds SET ends_at = ends_at - interval '600 seconds'")
    make_trouble(engine, events[1])
    assert sweep(runtime) == 2
    assert rows(engine, "SELECT event_id FROM holds") == [(events[1],)]


def test_many_holds_of_many_events_end_a_part_at_a_time(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_ROWS", 3)
    events = []
    for _ in range(4):
        ticket_type = add_ticket_type(engine, 2)
        events.append(event_of(engine, ticket_type))
        for _ in range(2):
            queue_buy(engine, [(ticket_type, 1)], hold_seconds=600)
    runtime.drain(events)
    for number, event in enumerate(events):
        tamper(
            engine,
            f"UPDATE holds SET ends_at = now() - interval '{number + 1} seconds'"
            f" WHERE event_id = {event}",
        )
    assert sweep(runtime) == 3
    # The longest due first.
    left = rows(engine, "SELECT event_id FROM holds ORDER BY event_id")
    assert [row[0] for row in left][:4] == [events[0], events[0], events[1], events[1]]
    assert [sweep(runtime) for _ in range(3)] == [3, 2, 0]
    assert rows(engine, "SELECT FROM holds") == []


def due_holds(engine: Engine, runtime: Runtime, how_many: int) -> list[int]:
    """Events with one each."""
    ticket_types = [add_ticket_type(engine, 1) for _ in range(how_many)]
    for ticket_type in ticket_types:
        queue_buy(engine, [(ticket_type, 1)], hold_seconds=600)
    events = [event_of(engine, ticket_type) for ticket_type in ticket_types]
    runtime.drain(events)
    tamper(engine, "UPDATE holds SET ends_at = ends_at - interval '600 seconds'")
    return events


def test_many_events_with_holds_are_walked_in_parts(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_EVENTS", 2)
    due_holds(engine, runtime, 5)
    assert [sweep(runtime) for _ in range(3)] == [2, 2, 1]
    assert rows(engine, "SELECT FROM holds") == []
    due_holds(engine, runtime, 1)
    assert sweep(runtime) == 1


@pytest.mark.parametrize("trouble", range(5))
def test_an_event_that_is_always_due_is_passed_by_the_walk(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_EVENTS", 2)
    events = due_holds(engine, runtime, 5)
    make_trouble(engine, events[trouble])
    parts = [2, 2, 1]
    parts[trouble // 2] -= 1
    assert [sweep(runtime) for _ in range(3)] == parts
    assert rows(engine, "SELECT event_id FROM holds") == [(events[trouble],)]


def test_a_part_that_took_too_long_is_walked_again(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_EVENTS", 2)
    due_holds(engine, runtime, 3)
    assert sweep(runtime) == 2
    with monkeypatch.context() as slow:
        slow.setattr(expiry, "QUEUE_DUE", "SET LOCAL statement_timeout = 50; SELECT pg_sleep(9)")
        assert sweep(runtime) == 0
    assert sweep(runtime) == 1


@pytest.mark.parametrize("statistics", [False, True])
def test_a_walk_takes_one_step_for_each_event_and_stops(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, statistics: bool
) -> None:
    """However many holds they have."""
    monkeypatch.setattr(expiry, "EXPIRE_EVENTS", 3)
    ticket_types = [add_ticket_type(engine, 50) for _ in range(6)]
    for ticket_type in ticket_types:
        for _ in range(50):
            queue_buy(engine, [(ticket_type, 1)], hold_seconds=600)
    runtime.drain([event_of(engine, ticket_type) for ticket_type in ticket_types])
    if statistics:
        run(engine, "ANALYZE")
    wanted = {"rows": expiry.EXPIRE_ROWS, "events": expiry.EXPIRE_EVENTS, "after": 0}
    with statement(runtime.engine) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {expiry.QUEUE_DUE}", wanted)
        ((plan,),) = cursor.fetchall()
    read = Counter[str]()
    for scan in scans(plan[0]["Plan"]):
        if "Relation Name" in scan:
            read[scan["Relation Name"]] += scan["Actual Rows"] * scan["Actual Loops"]
    assert {name: rows for name, rows in read.items() if rows} == {"holds": 3, "lanes": 3}


def test_what_was_queued_too_long_is_decided_though_ending_holds_takes_too_long(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "QUEUE_DUE", "SET LOCAL statement_timeout = 50; SELECT pg_sleep(9)")
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    grow_old(engine)
    assert sweep(runtime) == 5
