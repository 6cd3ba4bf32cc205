"""Many buyers, several drains at once, few tickets: and the proof that the lock is what holds."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg2
import pytest
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.audit.all_events import audit
from purchase_worker.drain import Batch, decide_batch, drain
from purchase_worker.store import Recheck
from shared.config.settings import Settings
from shared.database.engine import cursor_transaction, session
from shared.database.prepared_statement import Prepared
from tests.support.factories import (
    accept,
    add_ticket_type,
    add_users,
    cart,
    counter,
    event_of,
    ignore,
    queue,
    request,
    rows,
    run,
)


def test_concurrent_purchases_and_overlapping_drains_never_oversell(
    engine: Engine, settings: Settings
) -> None:
    """Three drains want three of four events each, and take what is not locked.

    Every other buyer wants both types of an event in one cart.
    """
    adults = [add_ticket_type(engine, 25) for _ in range(4)]
    events = [event_of(engine, id_) for id_ in adults]
    children = [add_ticket_type(engine, 25, event_id=event) for event in events]
    users = add_users(engine, 160)
    small = settings.model_copy(update={"drain_batch_rows": 12})
    bought = threading.Event()

    def buy(nth: int) -> None:
        both = [(adults[nth % 4], 1), (children[nth % 4], 1)]
        lines = [both] if nth % 2 else [[line] for line in both]
        accept(engine, [cart(users[nth], each) for each in lines])

    def drain_while_buying(nth: int) -> None:
        mine = events[nth:] + events[:nth]
        while not bought.is_set():
            drain(engine, mine[:3], small, ignore)

    with ThreadPoolExecutor(7) as pool:
        drains = [pool.submit(drain_while_buying, nth) for nth in range(3)]
        for buys in [pool.submit(buy, nth) for nth in range(len(users))]:
            buys.result()
        bought.set()
        for each in drains:
            each.result()
    drain(engine, events, small, ignore)
    assert [counter(engine, id_) for id_ in adults + children] == [(25, 25)] * 8
    report = audit(engine, settings)
    assert (report.ok, report.queued) == (True, 0), report


def decide_one_batch(engine: Engine, settings: Settings, event: int) -> Batch:
    with session(engine) as cursor:
        return decide_batch(cursor, [event], settings, Recheck([event], whole=False))


def test_different_events_are_decided_at_the_same_time(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each drain has its lane's lock until the other has its own."""
    ticket_types = [add_ticket_type(engine, 3) for _ in range(2)]
    (user,) = add_users(engine, 1)
    queue(engine, [request(user, id_) for id_ in ticket_types])
    both_have_their_lock = threading.Barrier(2, timeout=30)
    read_work = store.read_work

    def wait_and_read(*args: Any) -> Any:
        both_have_their_lock.wait()
        return read_work(*args)

    monkeypatch.setattr(store, "read_work", wait_and_read)
    with ThreadPoolExecutor(2) as pool:
        drains = [
            pool.submit(decide_one_batch, engine, settings, event_of(engine, id_))
            for id_ in ticket_types
        ]
        assert [each.result().rows for each in drains] == [1, 1]


LOCK_CLAUSE = "FOR NO KEY UPDATE SKIP LOCKED"
BARRIERS = {
    "number": "ALTER TABLE ledger DROP CONSTRAINT ledger_pkey",
    "answer": "ALTER TABLE ledger DROP CONSTRAINT ledger_one_answer",
    "batch": "ALTER TABLE batches DROP CONSTRAINT batches_pkey",
    "oversold": "ALTER TABLE counters DROP CONSTRAINT counters_never_oversold",
    "triggers": "CREATE OR REPLACE FUNCTION eventify_fail(code text, rule text, message text)"
    " RETURNS void LANGUAGE plpgsql AS 'BEGIN END'",
}
Intruder = Callable[[Engine, Settings, int], None]


def another_drain(engine: Engine, settings: Settings, ticket_type: int) -> None:
    decide_one_batch(engine, settings, event_of(engine, ticket_type))


def the_owner_withdraws(engine: Engine, _settings: Settings, ticket_type: int) -> None:
    with suppress(LockNotAvailable), cursor_transaction(engine) as cursor:
        cursor.execute("SET LOCAL lock_timeout = 50")
        cursor.execute("SELECT eventify_issue(%s, -10)", (ticket_type,))


INTRUDERS = (another_drain, the_owner_withdraws)
# All of them hold in both schedules, but one: a withdrawal answers no command twice.
ALONE = [
    (intruder, kept)
    for intruder in INTRUDERS
    for kept in BARRIERS
    if (intruder, kept) != (the_owner_withdraws, "answer")
]


def take_the_lock_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOCK_CLAUSE in store.LOCK_LANES.sql
    unlocked = store.LOCK_LANES.sql.replace(LOCK_CLAUSE, "")
    monkeypatch.setattr(store, "LOCK_LANES", Prepared("unlocked_lanes", unlocked))


def decide_while_another_comes(
    engine: Engine,
    settings: Settings,
    ticket_type: int,
    intruder: Intruder,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, int]:
    """It comes after the drain has read what is left; returns the tickets issued and sold.

    20 buyers are queued for 10 tickets, and a batch takes 10 of them.
    """
    read_work = store.read_work

    def come_in_between(*args: Any) -> Any:
        monkeypatch.setattr(store, "read_work", read_work)
        read = read_work(*args)
        intruder(engine, settings, ticket_type)
        return read

    monkeypatch.setattr(store, "read_work", come_in_between)
    decide_one_batch(engine, settings, event_of(engine, ticket_type))
    ((issued, sold),) = rows(
        engine,
        "SELECT sum(change) FILTER (WHERE kind <> 'confirmed'),"
        " sum(-change) FILTER (WHERE kind = 'confirmed') FROM ledger",
    )
    return issued, sold


@pytest.fixture
def contested(engine: Engine) -> int:
    ticket_type = add_ticket_type(engine, 10)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 20)])
    return ticket_type


@pytest.fixture
def by_tens(settings: Settings) -> Settings:
    return settings.model_copy(update={"drain_batch_rows": 10})


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_with_the_lock_nothing_is_sold_twice(
    engine: Engine,
    by_tens: Settings,
    contested: int,
    intruder: Intruder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sale = decide_while_another_comes(engine, by_tens, contested, intruder, monkeypatch)
    assert sale == (10, 10)


@pytest.mark.parametrize(
    ("intruder", "sale"), [(another_drain, (10, 20)), (the_owner_withdraws, (0, 10))]
)
def test_without_the_lock_the_same_schedule_oversells(
    engine: Engine,
    by_tens: Settings,
    contested: int,
    intruder: Intruder,
    sale: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control: it is the lock that holds, and the test above can fail."""
    take_the_lock_out(monkeypatch)
    for barrier in BARRIERS.values():
        run(engine, barrier)
    assert decide_while_another_comes(engine, by_tens, contested, intruder, monkeypatch) == sale


@pytest.mark.parametrize(("intruder", "kept"), ALONE)
def test_without_the_lock_each_barrier_of_the_database_still_holds(
    engine: Engine,
    by_tens: Settings,
    contested: int,
    intruder: Intruder,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_the_lock_out(monkeypatch)
    for name, barrier in BARRIERS.items():
        if name != kept:
            run(engine, barrier)
    with pytest.raises(psycopg2.IntegrityError):
        decide_while_another_comes(engine, by_tens, contested, intruder, monkeypatch)
