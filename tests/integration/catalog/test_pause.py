"""A paused sale: nothing is accepted once the pause was answered, and what is queued is decided."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from catalog.ticket_types.pause import STANDS, pause, resume
from deploy.cli.main import main
from gateway.purchases import store
from gateway.purchases.accept import Accepted
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import NotFound, SaleClosed, SaleNotOpen, SalePaused, Unavailable
from tests.integration.catalog.making import make_ticket_type, path_of
from tests.support.factories import (
    LIMITS,
    accept,
    add_ticket_type,
    add_user,
    add_users,
    outcomes,
    request,
    rows,
    run,
    scalar,
)
from tests.support.waiting import eventually, until_sessions_wait


def is_paused(engine: Engine, ticket_type: int) -> bool:
    paused = "SELECT paused_at IS NOT NULL FROM ticket_types WHERE id = :id"
    return bool(scalar(engine, paused, id=ticket_type))


def accepted(engine: Engine) -> int:
    return int(scalar(engine, "SELECT count(*) FROM requests WHERE kind = 'buy'"))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize(
    ("column", "refusal"),
    [
        ("sales_start = now() + interval '1 hour'", SaleNotOpen),
        ("sales_end = now() - interval '1 hour'", SaleClosed),
        ("max_per_user = 1", SalePaused),
    ],
)
def test_a_pause_reports_nothing_of_a_sale_that_is_not_on_anyway(
    engine: Engine, column: str, refusal: type[Exception]
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 0)
    run(engine, f"UPDATE ticket_types SET {column}")
    pause(engine, ticket_type)
    (verdict,) = accept(engine, [request(user, ticket_type)])
    assert type(verdict) is refusal


@pytest.mark.parametrize("switch", [pause, resume])
def test_what_is_not_there_is_not_found(engine: Engine, switch: type[pause]) -> None:
    with pytest.raises(NotFound):
        switch(engine, 999_999_999)


def test_a_pause_is_answered_once_all_that_was_being_accepted_is(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    under_way = request(user, ticket_type)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        store.ACCEPT.run(cursor, store.parameters_of([under_way], LIMITS))
        pausing = pool.submit(pause, engine, ticket_type)
        until_sessions_wait(engine)
        assert is_paused(engine, ticket_type)
        assert not pausing.done()
        connection.connection.commit()
        pausing.result()
    assert [id_ for id_, *_ in outcomes(engine, ticket_type)] == [under_way.id]


def test_a_pause_that_does_not_see_the_end_of_it_says_that_it_stands(
    engine: Engine, settings: Settings
) -> None:
    impatient = open_engine(settings.model_copy(update={"lock_timeout_ms": 200}), "test")
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        store.ACCEPT.run(cursor, store.parameters_of([request(user, ticket_type)], LIMITS))
        with pytest.raises(Unavailable, match="The sale is paused"):
            pause(impatient, ticket_type)
    impatient.dispose()
    assert is_paused(engine, ticket_type)


@contextmanager
def being_sold(engine: Engine, ticket_type: int) -> Iterator[None]:
    """Purchases of it are being stored all the time."""
    with engine.connect() as connection:
        connection.exec_driver_sql(
            f"SELECT FROM ticket_types WHERE id = {ticket_type} FOR KEY SHARE"
        )
        yield


def test_a_replayed_pause_of_a_sale_that_was_resumed_waits_for_nothing(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    path, key = f"{path_of(ticket_type)}pause/", {"Idempotency-Key": "pause-1"}
    assert owner.post(path, headers=key).json()["paused_at"] is not None
    resume(database, ticket_type["id"])
    with being_sold(database, ticket_type["id"]):
        replayed = owner.post(path, headers=key)
    assert (replayed.status_code, replayed.json()["paused_at"]) == (200, None)
    assert replayed.headers["Idempotency-Replayed"] == "true"


def test_a_replayed_pause_that_stands_waits_as_the_first_did(
    owner: httpx.Client, database: Engine
) -> None:
    ticket_type = make_ticket_type(owner)
    path, key = f"{path_of(ticket_type)}pause/", {"Idempotency-Key": "pause-2"}
    with being_sold(database, ticket_type["id"]):
        for _ in range(2):
            answer = owner.post(path, headers=key)
            assert (answer.status_code, answer.json()["detail"]) == (503, STANDS)
    assert owner.post(path, headers=key).status_code == 200


def test_a_pause_that_is_resumed_while_it_waits_is_answered(
    owner: httpx.Client,
    database: Engine,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket_type, other = make_ticket_type(owner), make_ticket_type(owner)
    id_ = ticket_type["id"]
    url = database.url.set(drivername="postgresql")
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", url.render_as_string(hide_password=False))
    with being_sold(database, id_):
        by_owner = pool.submit(owner.post, f"{path_of(ticket_type)}pause/")
        by_operator = pool.submit(CliRunner().invoke, main, ["pause", str(id_), str(other["id"])])
        until_sessions_wait(database, 2)
        resume(database, id_)
        assert by_owner.result().json()["paused_at"] is None
        first, second = by_operator.result().output.splitlines()
    assert first == f"Ticket type {id_} (Standing) was resumed meanwhile."
    assert second.startswith(f"Ticket type {other['id']} (Standing) is paused since ")


def test_a_request_that_began_before_a_pause_and_came_too_late_is_refused(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    elsewhere = add_ticket_type(engine, 5)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        # The key keeps the other request waiting after it has seen the sale, and before its guard.
        store.ACCEPT.run(cursor, store.parameters_of([request(user, elsewhere, key="k")], LIMITS))
        buying = pool.submit(accept, engine, [request(user, ticket_type, key="k")])
        until_sessions_wait(engine)
        pause(engine, ticket_type)
        connection.connection.rollback()
        (verdict,) = buying.result()
    assert isinstance(verdict, SalePaused)
    assert outcomes(engine, ticket_type) == []


def test_in_a_rush_a_pause_takes_hold_at_once_and_nothing_is_accepted_after_it(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    """Without a moment in which nobody accepts, as several gateways do it together."""
    users, ticket_type = add_users(engine, 20), add_ticket_type(engine, 1_000_000)

    def buy_until_refused() -> int:
        bought = 0
        while True:
            verdicts = accept(engine, [request(user, ticket_type) for user in users])
            if isinstance(verdicts[0], SalePaused):
                return bought
            assert all(isinstance(verdict, Accepted) for verdict in verdicts)
            bought += len(verdicts)

    buying = [pool.submit(buy_until_refused) for _ in range(4)]
    eventually(lambda: _assert_rows(engine, "SELECT FROM requests OFFSET 500 LIMIT 1"))
    pause(engine, ticket_type)
    when_answered = accepted(engine)
    assert sum(each.result() for each in buying) == when_answered == accepted(engine)


def test_a_pause_that_is_answered_before_a_purchase_has_its_lock_refuses_it(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    """Its guard has begun before, and sleeps between its snapshot and its lock."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    guard: str = scalar(engine, "SELECT pg_get_functiondef('eventify_accept'::regproc)")
    reads, locks = "SELECT event_id FROM ticket_types", "FOR KEY SHARE NOWAIT"
    assert reads in guard
    sleeping = guard.replace(reads, f"{reads}, pg_sleep(1)")
    with engine.begin() as connection:
        connection.exec_driver_sql(sleeping.replace(locks, "FOR KEY SHARE OF ticket_types NOWAIT"))
    buying = pool.submit(accept, engine, [request(user, ticket_type)])
    asleep = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    eventually(lambda: _assert_rows(engine, asleep))
    pause(engine, ticket_type)
    (verdict,) = buying.result()
    assert isinstance(verdict, SalePaused)
    assert accepted(engine) == 0


def test_a_pause_does_not_wait_for_whoever_decides(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM lanes FOR NO KEY UPDATE")
        pause(engine, ticket_type)


def test_a_gateway_that_knows_no_pauses_sells_nothing_either(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former version, while an upgrade is under way."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 5)
    pause(engine, ticket_type)
    unknowing = store.ACCEPT.sql.replace("WHEN t.paused_at IS NOT NULL THEN 'sale_paused'", "")
    monkeypatch.setattr(store, "ACCEPT", store.Prepared("former_accept", unknowing))
    (verdict,) = accept(engine, [request(user, ticket_type)])
    assert isinstance(verdict, Unavailable)
    assert outcomes(engine, ticket_type) == []


def _assert_rows(engine: Engine, statement: str) -> None:
    assert rows(engine, statement)
