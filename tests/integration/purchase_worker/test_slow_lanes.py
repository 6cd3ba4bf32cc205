"""An event of which a statement takes too long is decided all the same, in smaller batches."""

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from purchase_worker.audit.all_events import audit
from purchase_worker.drain import Drained
from purchase_worker.runtime import Runtime
from purchase_worker.sweep import sweep
from purchase_worker.tasks import decide_queues
from shared.config.settings import Settings
from tests.support.factories import (
    add_ticket_type,
    event_of,
    issue,
    queue_many,
    rows,
    run,
    tamper,
)

# Far more than are needed, also on a busy machine.
ATTEMPTS = 60


@pytest.fixture
def runtime(settings: Settings, redis_client: redis.Redis) -> Iterator[Runtime]:
    limits = {"statement_timeout_ms": 500, "drain_batch_rows": 64, "drain_close_rows": 64}
    runtime = Runtime(settings.model_copy(update=limits), "test-worker")
    yield runtime
    runtime.close()


@pytest.fixture
def sizes(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the batches that were decided."""
    decided: list[int] = []
    monkeypatch.setattr(runtime, "publish", lambda batch: decided.append(batch.rows))
    return decided


def slow_down(engine: Engine, event_id: int, seconds_of_each: float = 0.05) -> None:
    """From now on each entry of this event takes that long."""
    run(
        engine,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({seconds_of_each}); RETURN NEW; END $$",
    )
    run(
        engine,
        "CREATE TRIGGER slow BEFORE INSERT ON ledger FOR EACH ROW"
        f" WHEN (NEW.event_id = {event_id}) EXECUTE FUNCTION slow()",
    )


def queued(engine: Engine) -> list[int]:
    """The events of what is queued."""
    return [row[0] for row in rows(engine, "SELECT DISTINCT event_id FROM work_list")]


def drain_all(runtime: Runtime, event_id: int) -> list[Drained]:
    drained = [runtime.drain([event_id])]
    while not drained[-1].emptied and len(drained) < ATTEMPTS:
        drained.append(runtime.drain([event_id]))
    return drained


@pytest.mark.parametrize("capacity", [100, 0], ids=["on sale", "sold out"])
def test_a_lane_is_decided_in_batches_as_small_as_need_be_and_again_in_large_ones(
    engine: Engine, settings: Settings, runtime: Runtime, sizes: list[int], capacity: int
) -> None:
    ticket_type = add_ticket_type(engine, 1)
    queue_many(engine, ticket_type, 40)
    issue(engine, ticket_type, capacity - 1)
    event = event_of(engine, ticket_type)
    slow_down(engine, event)
    drained = drain_all(runtime, event)
    assert queued(engine) == []
    assert (sum(sizes), max(sizes) <= 10) == (40, True)
    # What was not decided is tried again at once, in the worker's next task.
    assert [each.more for each in drained] == [[event]] * (len(drained) - 1) + [[]]

    run(engine, "DROP TRIGGER slow ON ledger")
    issue(engine, ticket_type, 10 * capacity)
    queue_many(engine, ticket_type, 1_000)
    drained = drain_all(runtime, event)
    assert (sum(sizes), max(sizes)) == (1_040, 64)
    assert drained[-1].batches > 1
    assert audit(engine, settings).ok


def test_the_other_events_of_a_wakeup_do_not_wait_for_it(engine: Engine, runtime: Runtime) -> None:
    ticket_types = [add_ticket_type(engine, 100) for _ in range(3)]
    slow, *others = (event_of(engine, ticket_type) for ticket_type in ticket_types)
    for ticket_type in ticket_types:
        queue_many(engine, ticket_type, 40 if ticket_type == ticket_types[0] else 5)
    slow_down(engine, slow)
    more = decide_queues(runtime, [slow, *others])
    assert set(more) == {slow, *others}
    more = decide_queues(runtime, more)
    assert queued(engine) == [slow]
    for _attempt in range(ATTEMPTS):
        more = decide_queues(runtime, more) if more else []
    assert queued(engine) == []


def test_the_sweeper_decides_it_too(engine: Engine, runtime: Runtime) -> None:
    ticket_type = add_ticket_type(engine, 100)
    queue_many(engine, ticket_type, 40)
    slow_down(engine, event_of(engine, ticket_type))
    tamper(engine, "UPDATE requests SET created_at = created_at - interval '1 minute'")
    attempts = 0
    while queued(engine) and attempts < ATTEMPTS:
        sweep(runtime)
        attempts += 1
    assert queued(engine) == []


def test_where_a_single_row_takes_too_long_workers_leave_it_to_the_sweeper(
    engine: Engine, runtime: Runtime
) -> None:
    """So that it does not keep one of them busy for ever; and once it is quick, it goes on."""
    limits = {"drain_batch_rows": 4, "drain_close_rows": 4}
    runtime.settings = runtime.settings.model_copy(update=limits)
    ticket_type = add_ticket_type(engine, 100)
    queue_many(engine, ticket_type, 2)
    event = event_of(engine, ticket_type)
    slow_down(engine, event, seconds_of_each=5)
    assert [decide_queues(runtime, [event]) for _ in range(4)] == [[event], [event], [], []]
    run(engine, "DROP TRIGGER slow ON ledger")
    drain_all(runtime, event)
    assert queued(engine) == []
