"""What live figures keep and read, on a real database, without a gateway."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.live import refusal_store, sampler, store
from gateway.live.event_ledger import EventLedger
from gateway.live.past import Past
from gateway.live.sampler import Sampler
from purchase_worker.drain import drain
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.database.engine import open_engine, statement
from shared.database.prepared_statement import FIRST_RUNS, Prepared
from shared.database.rights import GATEWAY
from tests.support.factories import (
    add_ticket_type,
    event_of,
    ignore,
    queue_buy,
    queue_many,
    rows,
    run,
)
from tests.support.plans import scans


@pytest.fixture
def ticket_type(engine: Engine) -> int:
    return add_ticket_type(engine, 5)


@pytest.fixture
def event(engine: Engine, ticket_type: int) -> int:
    return event_of(engine, ticket_type)


@pytest.fixture
def threads() -> Iterator[BoundedExecutor]:
    threads = BoundedExecutor("live", threads=1, waiting_max=10)
    yield threads
    threads.close()


def test_old_refusals_are_added_up_to_an_hour_and_then_deleted(
    engine: Engine, ticket_type: int, event: int
) -> None:
    for _ in range(2):
        refusal_store.add(engine, {(ticket_type, "sale_closed"): 2, (0, "sale_closed"): 9})
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=9)
    run(
        engine,
        "INSERT INTO edge_refusals"
        " SELECT :event, :hour + n * interval '2 seconds', 2, 'sale_closed', 1"
        " FROM generate_series(0, 99) n",
        event=event,
        hour=hour,
    )
    run(
        engine,
        "INSERT INTO edge_refusals"
        " VALUES (:event, now() - interval '2 years', 3600, 'all_held', 7)",
        event=event,
    )
    for _ in range(2):
        refusal_store.compact(engine)
    wide = "SELECT at, code, count FROM edge_refusals WHERE step_seconds = 3600"
    assert rows(engine, wide) == [(hour, "sale_closed", 100)]
    with statement(engine) as cursor:
        assert refusal_store.read_totals(cursor, event) == {"sale_closed": 104}


def test_an_event_without_webhooks_that_follow_it_has_none(
    engine: Engine, settings: Settings, ticket_type: int, event: int
) -> None:
    assert store.read_figures(engine, event).webhooks is None
    run(
        engine,
        "INSERT INTO webhooks (user_id, url, kinds)"
        " SELECT owner_id, 'https://shop.example/', '{confirmed}' FROM events"
        " CROSS JOIN generate_series(1, 2)",
    )
    run(
        engine,
        "INSERT INTO webhook_cursors (webhook_id, event_id, number, failures, failing_since)"
        " SELECT min(id), :event, 1, 3, now() FROM webhooks",
        event=event,
    )
    queue_many(engine, ticket_type, 3)
    drain(engine, [event], settings, ignore)
    run(engine, "UPDATE webhook_cursors SET number = 2")
    webhooks = store.read_figures(engine, event).webhooks
    assert webhooks is not None
    # One has had nothing yet, not even what was issued.
    assert (webhooks.count, webhooks.failing, webhooks.behind_entries) == (2, 1, 4)
    assert webhooks.behind_seconds > 0
    run(engine, "UPDATE webhooks SET disabled_at = now(), disabled_reason = 'owner'")
    assert store.read_figures(engine, event).webhooks is None


def test_parts_of_a_ledger_add_up_to_the_whole(
    engine: Engine,
    settings: Settings,
    ticket_type: int,
    event: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(4):
        queue_many(engine, ticket_type, 2)
        queue_buy(engine, [(ticket_type, 1), (add_ticket_type(engine, 1, event_id=event), 1)])
        drain(engine, [event], settings, ignore)
    last = store.last_number(engine, event)
    figures = store.read_figures(engine, event)

    def total(past: Past) -> tuple[int, int, int, int]:
        return past.number, past.total.left, past.total.confirmed, past.total.accepted

    expected = (last, figures.issued - figures.sold, figures.sold, 12)
    assert EventLedger(engine, event).read_to(last, total) == expected
    monkeypatch.setattr(store, "PART_ROWS", 1)
    assert EventLedger(engine, event).read_to(last, total) == expected
    # With older entries than another reader knows, it goes on; a restored database has fewer.
    ledger = EventLedger(engine, event)
    assert ledger.read_to(last, total) == ledger.read_to(1, total) == expected


@pytest.mark.anyio
async def test_a_sampler_ends_after_its_last_watcher_and_the_next_begins_anew(
    engine: Engine,
    event: int,
    threads: BoundedExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(sampler, "SAMPLE_SECONDS", 0.01)
    ledger = EventLedger(engine, event)
    for _ in range(2):
        ended: list[bool] = []
        one = Sampler(engine, threads, event, ledger, partial(ended.append, True))
        with one.watched():
            sample = await one.first()
            assert (sample.number, sample.stale) == (1, False)
            while one.sample is not None and one.sample.number < 3:
                await one.next
            assert not ended
        while one.problem is None:
            await one.next
        assert ended == [True]


def read_rows(cursor: cursor, each: Prepared, part: dict[str, Any]) -> dict[str, float]:
    """How many rows it read by each index."""
    cursor.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + each.bind(cursor, part))
    ((plan,),) = cursor.fetchall()
    return {
        scan["Index Name"]: scan["Actual Rows"] * scan["Actual Loops"]
        for scan in scans(plan[0]["Plan"])
        if "Relation Name" in scan
    }


@pytest.mark.parametrize("others", [0, 30, 250, 600])
def test_a_part_reads_its_own_entries_however_long_the_ledger_is(
    engine: Engine, settings: Settings, event: int, others: int
) -> None:
    for _ in range(others):  # events with one entry are all that PostgreSQL knows
        add_ticket_type(engine, 1)
    if others:
        run(engine, "ANALYZE")
    part = {"event_id": event, "after": 1_002, "rows": 500, "last": 2_002, "every": 100}
    part |= {"numbers": "{1,2,1002}"}
    expected = {
        store.READ_PART: {"batches_pkey": 1, "ledger_pkey": 500},
        store.READ_ACCEPTED: {"batches_pkey": 1, "ledger_pkey": 5, "requests_pkey": 5},
        # Fifty of each of four batches, and what was issued twice.
        store.READ_MARKED: {"batches_pkey": 2, "ledger_pkey": 3},
        store.READ_LATEST: {"batches_pkey": 6, "ledger_pkey": 202, "requests_pkey": 202},
    }
    before, after = (
        open_engine(settings, "gateway", pool_size=1, prepares=True, role=GATEWAY) for _ in "12"
    )
    with statement(before) as planned_before, statement(after) as planned_after:
        for each in expected:
            each.run(planned_before, part)
        queue_many(engine, add_ticket_type(engine, 10_000, event_id=event), 2_000)
        drain(engine, [event], settings, ignore)
        for each in [*expected] * FIRST_RUNS:
            each.run(planned_before, part)
        assert {each: read_rows(planned_before, each, part) for each in expected} == expected
        run(engine, "ANALYZE")
        for cursor in (planned_before, planned_after):
            assert {each: read_rows(cursor, each, part) for each in expected} == expected
    before.dispose()
    after.dispose()
