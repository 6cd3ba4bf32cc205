"""Many buyers, several drains at once, few tickets: and the proof that the lock is what holds."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from purchase_worker import store
from purchase_worker.audit.report import audit
from purchase_worker.drain import decide_batch, drain
from shared.config.settings import Settings
from shared.database.engine import session
from shared.database.prepared_statement import Prepared
from tests.support.factories import (
    accept,
    add_ticket_type,
    add_users,
    ignore,
    inventory,
    queue,
    request,
    run,
    scalar,
)


def test_concurrent_purchases_and_overlapping_drains_never_oversell(
    engine: Engine, settings: Settings
) -> None:
    """Three drains want three of four ticket types each, and take what is not locked."""
    ticket_types = [add_ticket_type(engine, 25) for _ in range(4)]
    users = add_users(engine, 160)
    small = settings.model_copy(update={"drain_batch_rows": 12})
    bought = threading.Event()

    def buy(nth: int) -> None:
        wanted = ticket_types[nth % 4], ticket_types[(nth + 1) % 4]
        accept(engine, [request(users[nth], ticket_type) for ticket_type in wanted])

    def drain_while_buying(nth: int) -> None:
        mine = ticket_types[nth:] + ticket_types[:nth]
        while not bought.is_set():
            drain(engine, mine[:3], small, ignore)

    with ThreadPoolExecutor(7) as pool:
        drains = [pool.submit(drain_while_buying, nth) for nth in range(3)]
        for buys in [pool.submit(buy, nth) for nth in range(len(users))]:
            buys.result()
        bought.set()
        for each in drains:
            each.result()
    drain(engine, ticket_types, small, ignore)
    assert [inventory(engine, id_)[:2] for id_ in ticket_types] == [(25, 25)] * 4
    report = audit(engine, settings)
    assert (report.ok, report.queued) == (True, 0), report


LOCK_CLAUSE = "FOR NO KEY UPDATE OF i SKIP LOCKED"
BARRIERS = (
    "ALTER TABLE ticket_inventory DROP CONSTRAINT ticket_inventory_never_oversold",
    "ALTER TABLE decision_batches DROP CONSTRAINT decision_batches_pkey",
    "DROP INDEX ticket_purchases_decisions",
    "DROP TRIGGER ticket_inventory_moves_by_decisions ON ticket_inventory",
)


def take_the_lock_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOCK_CLAUSE in store.LOCK_INVENTORIES.sql
    unlocked = store.LOCK_INVENTORIES.sql.replace(LOCK_CLAUSE, "")
    monkeypatch.setattr(store, "LOCK_INVENTORIES", Prepared("unlocked_inventories", unlocked))


def decide_while_another_decides(
    engine: Engine, settings: Settings, ticket_type: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """A second drain comes in after the first has read the counter; returns the tickets sold.

    20 buyers are queued for 10 tickets, and a batch takes 10 of them.
    """
    read_queues = store.read_queues

    def come_in_between(
        cursor: cursor, ticket_type_ids: Iterable[int], rows: int
    ) -> tuple[dict[int, store.Queue], str]:
        monkeypatch.setattr(store, "read_queues", read_queues)
        decide_one_batch()
        return read_queues(cursor, ticket_type_ids, rows)

    def decide_one_batch() -> None:
        with session(engine) as cursor:
            decide_batch(cursor, [ticket_type], settings, recheck=[ticket_type])

    monkeypatch.setattr(store, "read_queues", come_in_between)
    decide_one_batch()
    sold: int = scalar(
        engine, "SELECT sum(quantity) FROM ticket_purchases WHERE status = 'confirmed'"
    )
    return sold


@pytest.fixture
def contested(engine: Engine) -> int:
    ticket_type = add_ticket_type(engine, 10)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 20)])
    return ticket_type


@pytest.fixture
def by_tens(settings: Settings) -> Settings:
    return settings.model_copy(update={"drain_batch_rows": 10})


def test_with_the_lock_a_second_drain_sells_nothing_twice(
    engine: Engine, by_tens: Settings, contested: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decide_while_another_decides(engine, by_tens, contested, monkeypatch) == 10


def test_without_the_lock_the_same_schedule_oversells(
    engine: Engine, by_tens: Settings, contested: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: it is the lock that holds, and the test above can fail."""
    take_the_lock_out(monkeypatch)
    for barrier in BARRIERS:
        run(engine, barrier)
    assert decide_while_another_decides(engine, by_tens, contested, monkeypatch) == 20


@pytest.mark.parametrize("kept", range(len(BARRIERS)))
def test_without_the_lock_each_barrier_of_the_database_still_holds(
    engine: Engine, by_tens: Settings, contested: int, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    take_the_lock_out(monkeypatch)
    for nth, barrier in enumerate(BARRIERS):
        if nth != kept:
            run(engine, barrier)
    with pytest.raises(psycopg2.IntegrityError):
        decide_while_another_decides(engine, by_tens, contested, monkeypatch)
