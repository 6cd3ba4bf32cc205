"""Deciding: the queued rows of a ticket type get their outcomes, in order, under the lock."""

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.read import read
from purchase_worker.audit.report import audit
from purchase_worker.decision import NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from purchase_worker.drain import RETRY_SKIPPED_SECONDS, Batch, Drained, drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.purchases import RESULT_KEY_PREFIX, Purchase, unpack_result
from tests.support.factories import (
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


def test_decides_without_prepared_statements(engine: Engine, settings: Settings) -> None:
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
    assert inventory(engine, ticket_type) == (3, 3, 3)


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


def test_closes_the_backlog_of_a_sold_out_ticket_type_in_bulk_and_in_order(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 1)
    small = settings.model_copy(update={"drain_batch_rows": 1, "drain_close_rows": 20})
    ids = queue(engine, [request(user, ticket_type) for user in add_users(engine, 50)])
    published: list[Batch] = []
    drained = drain(engine, [ticket_type], small, published.append)
    assert (drained.decided, drained.emptied) == (50, [ticket_type])
    assert [batch.rows for batch in published] == [1, 20, 20, 9]
    parts = [part for batch in published for part in batch.parts]
    assert [row.request.id for part in parts for row in part.queue.rows] == ids
    assert inventory(engine, ticket_type) == (1, 1, 50)
    numbers = rows(engine, "SELECT decision_number, left_after FROM ticket_purchases ORDER BY seq")
    assert numbers == [(n, 0) for n in range(1, 51)]


def test_a_drain_ends_at_its_limit_and_reports_that_more_is_queued(
    engine: Engine, settings: Settings
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    bounded = settings.model_copy(update={"drain_batch_rows": 2, "drain_max_batches": 3})
    queue(engine, [request(user, ticket_type) for _ in range(10)])
    drained = drain(engine, [ticket_type], bounded, ignore)
    assert (drained.decided, drained.more) == (6, [ticket_type])
    assert not drain(engine, [ticket_type], bounded, ignore).more


def test_several_ticket_types_are_decided_in_one_transaction_each_in_its_own_order(
    engine: Engine, settings: Settings
) -> None:
    """With numbers and a record of its own, as if it had been alone."""
    users = add_users(engine, 6)
    first, second, third = (add_ticket_type(engine, capacity) for capacity in (2, 3, 0))
    ids = queue(
        engine,
        [
            request(user, ticket_type)
            for user, ticket_type in zip(
                users, (first, second, first, second, first, second), strict=True
            )
        ],
    )
    drained = drain(engine, [first, second, third], settings, ignore)
    assert drained == Drained(6, 1, emptied=[first, second, third], more=[])
    assert outcomes(engine, first) == [
        (ids[0], "confirmed", None),
        (ids[2], "confirmed", None),
        (ids[4], "rejected", NOT_ENOUGH_TICKETS),
    ]
    assert outcomes(engine, second) == [(id_, "confirmed", None) for id_ in ids[1::2]]
    assert (inventory(engine, first), inventory(engine, second)) == ((2, 2, 3), (3, 3, 3))
    numbers = "SELECT decision_number FROM ticket_purchases ORDER BY ticket_type_id, seq"
    assert [row[0] for row in rows(engine, numbers)] == [1, 2, 3, 1, 2, 3]
    batches = "SELECT ticket_type_id, first_number, last_number FROM decision_batches ORDER BY 1"
    assert rows(engine, batches) == [(first, 1, 3), (second, 1, 3)]
    assert audit(engine, settings).ok


def test_of_many_queues_each_has_its_part_of_a_batch(engine: Engine, settings: Settings) -> None:
    """So that however deep one of them is, a transaction stays short, and takes from all."""
    long, short = add_ticket_type(engine, 100), add_ticket_type(engine, 100)
    by_fours = settings.model_copy(update={"drain_batch_rows": 4})
    for ticket_type, queued in ((long, 7), (short, 2)):
        queue(engine, [request(user, ticket_type) for user in add_users(engine, queued)])
    published: list[Batch] = []
    assert drain(engine, [long, short], by_fours, published.append).decided == 9
    assert [
        {part.locked.ticket_type_id: len(part.queue.rows) for part in batch.parts}
        for batch in published
    ] == [{long: 2, short: 2}, {long: 4}, {long: 1}]


def test_a_queue_that_was_emptied_is_read_again_while_another_is_long(
    engine: Engine, settings: Settings
) -> None:
    """Its wake-up counts as under way until the drain ends, so no other worker comes."""
    long, short = add_ticket_type(engine, 100), add_ticket_type(engine, 100)
    users = add_users(engine, 6)
    by_twos = settings.model_copy(update={"drain_batch_rows": 2})
    queue(engine, [request(user, long) for user in users])
    queue(engine, [request(users[0], short)])
    published: list[set[int]] = []

    def buy_once_more(batch: Batch) -> None:
        published.append({part.locked.ticket_type_id for part in batch.parts})
        if len(published) == 2:
            queue(engine, [request(users[1], short)])

    assert drain(engine, [long, short], by_twos, buy_once_more).decided == 8
    assert published == [{long, short}, {long}, {long}, {long, short}]


def test_a_sold_out_ticket_type_among_others_is_decided_with_them(
    engine: Engine, settings: Settings
) -> None:
    sold_out, on_sale = add_ticket_type(engine, 1), add_ticket_type(engine, 5)
    users = add_users(engine, 3)
    queue(engine, [request(users[0], sold_out), request(users[1], sold_out)])
    run(engine, "UPDATE ticket_inventory SET issued = 0 WHERE ticket_type_id = :id", id=sold_out)
    queue(engine, [request(users[2], on_sale)])
    assert drain(engine, [sold_out, on_sale], settings, ignore).batches == 1
    reasons = [outcome[1:] for outcome in outcomes(engine, sold_out)]
    assert reasons == [("rejected", NOT_ENOUGH_TICKETS)] * 2
    assert inventory(engine, on_sale) == (5, 1, 1)
    assert audit(engine, settings).ok


def test_what_a_user_holds_of_one_ticket_type_counts_for_no_other(
    engine: Engine, settings: Settings
) -> None:
    one, other = (add_ticket_type(engine, 9, max_per_user=2) for _ in range(2))
    first, second = add_users(engine, 2)
    queue(engine, [request(first, one, 2), request(second, other)])
    drain(engine, [one, other], settings, ignore)
    queue(engine, [request(user, type_, 1) for type_ in (one, other) for user in (first, second)])
    queue(engine, [request(second, other)])
    assert drain(engine, [one, other], settings, ignore).batches == 1
    assert [o[2] for o in outcomes(engine, one)[1:]] == [OVER_USER_LIMIT, None]
    assert [o[2] for o in outcomes(engine, other)[1:]] == [None, None, OVER_USER_LIMIT]
    assert audit(engine, settings).ok


def test_a_ticket_type_that_another_has_locked_is_skipped_and_the_others_are_decided(
    engine: Engine, settings: Settings
) -> None:
    theirs, ours = add_ticket_type(engine, 9), add_ticket_type(engine, 9)
    user = add_user(engine)
    queue(engine, [request(user, theirs), request(user, ours)])
    with engine.connect() as other:
        other.exec_driver_sql(
            f"SELECT FROM ticket_inventory WHERE ticket_type_id = {theirs} FOR NO KEY UPDATE"
        )
        drained = drain(engine, [theirs, ours], settings, ignore)
        assert (drained.decided, drained.emptied, drained.more) == (1, [ours], [])
        assert inventory(engine, ours) == (9, 1, 1)
        other.rollback()
    assert drain(engine, [theirs, ours], settings, ignore).decided == 1


@pytest.mark.parametrize("free_at", [1, 2, len(RETRY_SKIPPED_SECONDS), None])
def test_a_skipped_ticket_type_is_tried_a_few_times_more(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, free_at: int | None
) -> None:
    """An owner who changes the capacity again and again holds the lock, and decides nothing."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    queue(engine, [request(user, ticket_type)])
    slept: list[float] = []
    with engine.connect() as owner:
        owner.exec_driver_sql("SELECT * FROM ticket_inventory FOR NO KEY UPDATE")

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == free_at:
                owner.rollback()

        monkeypatch.setattr(time, "sleep", sleep)
        decided = drain(engine, [ticket_type], settings, ignore).decided
    assert decided == (0 if free_at is None else 1)
    assert slept == list(RETRY_SKIPPED_SECONDS[:free_at])


def test_a_decision_in_between_resets_the_number_of_tries(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next change of the same owner costs no decision more than the first one did."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    rounds = 3
    slept: list[float] = []
    with engine.connect() as owner:

        def lock_and_queue(_batch: Batch | None = None) -> None:
            queue(engine, [request(user, ticket_type)])
            owner.exec_driver_sql("SELECT * FROM ticket_inventory FOR NO KEY UPDATE")

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) % len(RETRY_SKIPPED_SECONDS) == 0:
                owner.rollback()

        def publish(batch: Batch) -> None:
            if len(slept) < rounds * len(RETRY_SKIPPED_SECONDS):
                lock_and_queue(batch)

        def read_again(_batch: Batch) -> Iterator[None]:
            yield

        monkeypatch.setattr(time, "sleep", sleep)
        lock_and_queue()
        patient = settings.model_copy(update={"drain_max_seconds": 60.0})
        drained = drain(engine, [ticket_type], patient, publish, read_again)
    assert (drained.decided, drained.emptied) == (rounds, [ticket_type])
    assert slept == list(RETRY_SKIPPED_SECONDS) * rounds


def result_of(redis_client: redis.Redis, purchase_id: str) -> tuple[int, bytes]:
    value = redis_client.get(RESULT_KEY_PREFIX + purchase_id)
    assert isinstance(value, bytes)
    result = unpack_result(value)
    assert result is not None
    return result


def test_results_reach_redis_and_name_their_owner(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 3, price=Decimal("10.00"))
    (id_,) = queue(engine, [request(user, ticket_type, 3)])
    run(engine, "UPDATE ticket_types SET price = 99")
    drain(engine, [ticket_type], settings, ResultPublisher(settings))
    owner, body = result_of(redis_client, id_)
    assert owner == user
    purchase = msgspec.json.decode(body, type=Purchase)
    # At the price of its acceptance.
    assert (purchase.status, purchase.total_price) == ("confirmed", "30.00")
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
    found = read(engine, ids, position_max_rows=1)
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
    assert publisher.breaker.failures == 1
