"""Deciding: the queued rows of a ticket type get their outcomes, in order, under the lock."""

import time
from datetime import datetime
from decimal import Decimal

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases import store as gateway_store
from purchase_worker.decision import NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from purchase_worker.drain import Batch, decide_batch, drain
from purchase_worker.results import ResultPublisher
from shared.database import open_engine, session
from shared.purchases import RESULT_KEY_PREFIX, Purchase, unpack_result
from shared.settings import Settings
from tests.factories import (
    add_ticket_type,
    add_user,
    add_users,
    ignore,
    inventory,
    outcomes,
    queue,
    request,
    rows,
    run,
)


def test_a_confirmed_purchase_lowers_what_is_left(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 10)
    queue(engine, [request(user, ticket_type, 2)])
    drain(engine, [ticket_type], settings, ignore)
    assert inventory(engine, ticket_type) == (10, 2, 1)


def test_decides_also_where_nothing_may_be_prepared(engine: Engine, settings: Settings) -> None:
    """As behind PgBouncer: on sale at first, then sold out, for users with a limit."""
    ticket_type = add_ticket_type(engine, 3, max_per_user=2)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    plain = settings.model_copy(update={"prepare_statements": False, "drain_batch_rows": 4})
    unprepared = open_engine(plain, "test", prepares=True)
    assert drain(unprepared, [ticket_type], plain, ignore).decided == 5
    unprepared.dispose()
    assert inventory(engine, ticket_type) == (3, 3, 5)


def test_decides_in_the_order_of_acceptance(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 3)
    users = add_users(engine, 3)
    first, second, third = queue(
        engine, [request(user, ticket_type, n) for user, n in zip(users, (2, 2, 1), strict=True)]
    )
    drain(engine, [ticket_type], settings, ignore)
    assert outcomes(engine, ticket_type) == [
        (first, "confirmed", None),
        (second, "rejected", NOT_ENOUGH_TICKETS),
        (third, "confirmed", None),
    ]


@pytest.mark.parametrize("capacity", [10, 0], ids=["on sale", "sold out"])
def test_nothing_is_decided_before_it_was_accepted(
    engine: Engine, settings: Settings, capacity: int
) -> None:
    """Of what is accepted while a batch begins, the acceptance is later than the batch's own now.

    And a clock may be set back between the two.
    """
    ticket_type = add_ticket_type(engine, 1)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    run(engine, "UPDATE ticket_inventory SET issued = :issued", issued=capacity)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            "UPDATE ticket_purchases SET created_at = created_at + seq * interval '1 minute'"
        )
    batches: list[Batch] = []
    drain(engine, [ticket_type], settings, batches.append)
    last = max(row[0] for row in rows(engine, "SELECT created_at FROM ticket_purchases"))
    assert set(rows(engine, "SELECT decided_at FROM ticket_purchases")) == {(last,)}
    assert rows(engine, "SELECT decided_at FROM decision_batches") == [(last,)]
    (batch,) = batches
    assert datetime.fromisoformat(batch.decided_at) == last


def test_holds_to_the_limit_of_each_user_over_batches(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 10, max_per_user=3)
    queue(engine, [request(user, ticket_type, 2)])
    drain(engine, [ticket_type], settings, ignore)
    queue(engine, [request(user, ticket_type, 2), request(user, ticket_type, 1)])
    drain(engine, [ticket_type], settings, ignore)
    assert [o[1:] for o in outcomes(engine, ticket_type)] == [
        ("confirmed", None),
        ("rejected", OVER_USER_LIMIT),
        ("confirmed", None),
    ]


def test_closes_the_backlog_of_a_sold_out_ticket_type_in_bulk_and_in_order(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 1)
    small = settings.model_copy(update={"drain_batch_rows": 1, "drain_close_rows": 20})
    ids = queue(engine, [request(user, ticket_type) for user in add_users(engine, 50)])
    told: list[Batch] = []
    drained = drain(engine, [ticket_type], small, told.append)
    assert (drained.decided, drained.emptied) == (50, [ticket_type])
    assert [batch.rows for batch in told] == [1, 20, 20, 9]
    parts = [part for batch in told for part in batch.parts]
    assert [row.request.id for part in parts for row in part.queue.rows] == ids
    assert inventory(engine, ticket_type) == (1, 1, 50)
    numbers = rows(engine, "SELECT decision_number, left_after FROM ticket_purchases ORDER BY seq")
    assert numbers == [(n, 0) for n in range(1, 51)]


def test_a_turn_ends_at_its_bound_and_says_that_more_is_queued(
    engine: Engine, settings: Settings
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    bounded = settings.model_copy(update={"drain_batch_rows": 2, "drain_max_batches": 3})
    queue(engine, [request(user, ticket_type) for _ in range(10)])
    drained = drain(engine, [ticket_type], bounded, ignore)
    assert (drained.decided, drained.more) == (6, [ticket_type])
    assert not drain(engine, [ticket_type], bounded, ignore).more


def test_leaves_at_once_when_another_holds_the_lock(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    queue(engine, [request(user, ticket_type)])
    with engine.connect() as other:
        other.exec_driver_sql("SELECT * FROM ticket_inventory FOR NO KEY UPDATE")
        with session(engine) as cursor:
            batch = decide_batch(cursor, [ticket_type], settings, look_at=[ticket_type])
            assert (batch.rows, batch.turned_away) == (0, [ticket_type])
        other.rollback()
    assert drain(engine, [ticket_type], settings, ignore).decided == 1


def test_whoever_was_turned_away_comes_back_once(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner who changes the capacity holds the lock for a moment, and decides nothing."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    queue(engine, [request(user, ticket_type)])
    with engine.connect() as owner:
        owner.exec_driver_sql("SELECT * FROM ticket_inventory FOR NO KEY UPDATE")
        monkeypatch.setattr(time, "sleep", lambda _seconds: owner.rollback())
        assert drain(engine, [ticket_type], settings, ignore).decided == 1


def result_of(redis_client: redis.Redis, purchase_id: str) -> tuple[int, bytes]:
    value = redis_client.get(RESULT_KEY_PREFIX + purchase_id)
    assert isinstance(value, bytes)
    result = unpack_result(value)
    assert result is not None
    return result


def test_price_changes_do_not_reach_what_was_accepted(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100, price=Decimal("10.00"))
    (id_,) = queue(engine, [request(user, ticket_type, 3)])
    run(engine, "UPDATE ticket_types SET price = 99")
    drain(engine, [ticket_type], settings, ResultPublisher(settings))
    _, body = result_of(redis_client, id_)
    assert msgspec.json.decode(body, type=Purchase).total_price == "30.00"


def test_results_reach_redis_and_name_their_owner(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 1)
    (id_,) = queue(engine, [request(user, ticket_type)])
    drain(engine, [ticket_type], settings, ResultPublisher(settings))
    owner, body = result_of(redis_client, id_)
    assert owner == user
    assert msgspec.json.decode(body, type=Purchase).status == "confirmed"
    assert 0 < redis_client.ttl(RESULT_KEY_PREFIX + id_) <= settings.result_ttl_seconds


@pytest.mark.parametrize("price", ["0", "0.10", "25", "9999999999.99"])
def test_a_result_is_byte_for_byte_what_the_gateway_makes_of_the_row(
    engine: Engine, settings: Settings, redis_client: redis.Redis, price: str
) -> None:
    """Of a confirmed one, of both reasons to reject, and of one that was closed in bulk."""
    ticket_type = add_ticket_type(engine, 3, price=Decimal(price), max_per_user=2)
    first, second, third = add_users(engine, 3)
    wanted = [(first, 1), (first, 2), (second, 3), (second, 2), (third, 1)]
    ids = queue(engine, [request(user, ticket_type, quantity) for user, quantity in wanted])
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        # Whole seconds and whole milliseconds are written out as any other time is.
        connection.exec_driver_sql(
            "UPDATE ticket_purchases SET created_at = date_trunc("
            " CASE mod(seq, 3) WHEN 0 THEN 'second' WHEN 1 THEN 'milliseconds'"
            " ELSE 'microseconds' END,"
            " created_at)"
        )
    small = settings.model_copy(update={"drain_batch_rows": 4})
    drain(engine, [ticket_type], small, ResultPublisher(settings))
    found = gateway_store.read(engine, ids, position_max_rows=1)
    assert [found[id_].purchase.reason for id_ in ids] == [
        None,
        OVER_USER_LIMIT,
        NOT_ENOUGH_TICKETS,
        None,
        NOT_ENOUGH_TICKETS,
    ]
    for id_ in ids:
        expected = found[id_].user_id, msgspec.json.encode(found[id_].purchase)
        assert result_of(redis_client, id_) == expected


def test_without_redis_the_decisions_stand(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 1)
    queue(engine, [request(user, ticket_type)])
    publisher = ResultPublisher(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    assert drain(engine, [ticket_type], settings, publisher).decided == 1
    assert publisher.failures == 1
