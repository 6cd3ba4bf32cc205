"""Deciding: the queued commands of an event get their entries, in order, under the lane's lock."""

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.read import read
from purchase_worker import store
from purchase_worker.audit.all_events import audit
from purchase_worker.decision import NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from purchase_worker.drain import RETRY_SKIPPED_SECONDS, Batch, Drained, drain
from purchase_worker.publish.results import (
    RESULTS_IN_MESSAGE_BYTES,
    ResultPublisher,
    commands,
)
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.purchases import (
    RESULT_KEY_PREFIX,
    DecidedBatch,
    Purchase,
    ResolvedPurchase,
    unpack_result,
)
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    add_users,
    cart,
    counter,
    event_of,
    ignore,
    issue,
    outcomes,
    queue,
    queue_buy,
    queue_resolution,
    request,
    rows,
    run,
    scalar,
    tamper,
)


def test_decides_without_prepared_statements(engine: Engine, settings: Settings) -> None:
    """As behind PgBouncer: on sale at first, then sold out, for users with a limit."""
    ticket_type = add_ticket_type(engine, 3, max_per_user=2)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    plain = settings.model_copy(update={"prepare_statements": False, "drain_batch_rows": 4})
    unprepared = open_engine(plain, "test", prepares=True)
    assert drain(unprepared, [event_of(engine, ticket_type)], plain, ignore).decided == 5
    unprepared.dispose()
    assert counter(engine, ticket_type) == (3, 3)


def test_decides_in_the_order_of_acceptance(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 3)
    users = add_users(engine, 3)
    first, second, third = queue(
        engine, [request(user, ticket_type, n) for user, n in zip(users, (2, 2, 1), strict=True)]
    )
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    assert outcomes(engine, ticket_type) == [
        (first, "confirmed", None),
        (second, "rejected", NOT_ENOUGH_TICKETS),
        (third, "confirmed", None),
    ]
    assert counter(engine, ticket_type) == (3, 3)


@pytest.mark.parametrize("change", [9, -1], ids=["on sale", "sold out"])
def test_nothing_is_decided_before_it_was_accepted(
    engine: Engine, settings: Settings, change: int
) -> None:
    """Of what is accepted while a batch begins, the acceptance is later than the batch's own now.

    And a clock may be set back between the two.
    """
    ticket_type = add_ticket_type(engine, 1)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    issue(engine, ticket_type, change)
    tamper(
        engine,
        "UPDATE requests SET created_at = created_at + seq * interval '1 minute'"
        " WHERE kind = 'buy'",
    )
    batches: list[Batch] = []
    drain(engine, [event_of(engine, ticket_type)], settings, batches.append)
    last = scalar(engine, "SELECT max(created_at) FROM requests")
    newest = "SELECT at FROM batches ORDER BY first_number DESC LIMIT 1"
    assert scalar(engine, newest) == scalar(engine, "SELECT at FROM lanes") == last
    (batch,) = batches
    assert [datetime.fromisoformat(part.decided_at) for part in batch.parts] == [last]


def test_a_lane_whose_time_is_ahead_moves_no_other(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    """As a former primary's clock left it; its holds end late, and those of other events do not.

    Results and the message to gateways have the time of their own event too.
    """
    ahead, other = add_ticket_type(engine, 4), add_ticket_type(engine, 4)
    events = [event_of(engine, id_) for id_ in (ahead, other)]
    held = [queue_buy(engine, [(id_, 1)], hold_seconds=600) for id_ in (ahead, other)]
    drain(engine, events, settings, ignore)
    for table in ("lanes", "batches"):
        tamper(
            engine,
            f"UPDATE {table} SET at = at + interval '1 hour' WHERE event_id = {events[0]}",
        )
    bought = queue(engine, [request(add_user(engine), id_) for id_ in (ahead, other)])
    late = queue_buy(engine, [(other, 1)], hold_seconds=600)
    paid = [queue_resolution(engine, "confirm", id_, payment_reference=id_) for id_ in held]
    batches: list[Batch] = []
    publish = ResultPublisher(settings)

    def keep(batch: Batch) -> None:
        batches.append(batch)
        publish(batch)

    drain(engine, events, settings, keep)
    (batch,) = batches
    hour = "SELECT event_id FROM lanes WHERE at > now() + interval '50 minutes'"
    assert rows(engine, hour) == [(events[0],)]
    (ends_at,) = rows(
        engine,
        "SELECT ends_at < now() + interval '11 minutes' FROM holds"
        " WHERE purchase_id = CAST(:id AS uuid)",
        id=late,
    )
    assert ends_at == (True,)
    found = read(engine, [*held, *bought], position_max_rows=1)
    for id_ in bought:
        expected = found[id_].user_id, msgspec.json.encode(found[id_].purchase)
        assert result_of(redis_client, id_) == expected
    name, _channel, body = commands(batch, 60)[-1]
    assert name == "PUBLISH"
    message = msgspec.msgpack.decode(body, type=DecidedBatch)
    times = [message.resolved_at.get(id_, message.at) for id_ in paid]
    purchases = [found[id_].purchase for id_ in held]
    assert times == [p.resolved_at for p in purchases if isinstance(p, ResolvedPurchase)]
    assert audit(engine, settings).ok


def test_closes_the_backlog_of_a_sold_out_event_in_bulk_and_in_order(
    engine: Engine, settings: Settings
) -> None:
    """Carts among it."""
    ticket_type = add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    other = add_ticket_type(engine, 0, event_id=event)
    small = settings.model_copy(update={"drain_batch_rows": 1, "drain_close_rows": 20})
    first, *others = add_users(engine, 50)
    ids = queue(engine, [request(first, ticket_type)])
    issue(engine, other, 1)
    ids += queue(
        engine,
        [
            cart(user, [(other, 2), (ticket_type, 1)]) if nth % 5 == 0 else request(user, other, 2)
            for nth, user in enumerate(others)
        ],
    )
    issue(engine, other, -1)
    published: list[Batch] = []
    drained = drain(engine, [event], small, published.append)
    assert (drained.decided, drained.emptied) == (50, [event])
    assert [batch.rows for batch in published] == [1, 20, 20, 9]
    assert [work.command.id for batch in published for _, work, _ in batch.decided] == ids
    assert (counter(engine, ticket_type), counter(engine, other)) == ((1, 1), (0, 0))
    entries = rows(
        engine,
        "SELECT command_id::text, e.kind::text, e.left_after, e.items FROM ledger e"
        " JOIN requests r ON r.id = e.command_id WHERE r.kind = 'buy' ORDER BY number",
    )
    assert [entry[0] for entry in entries] == ids
    nothing = [{"ticket_type": id_, "change": 0, "left_after": 0} for id_ in (other, ticket_type)]
    assert [entry[1:] for entry in entries] == [
        ("confirmed", 0, None),
        *(("rejected", None, nothing) if n % 5 == 0 else ("rejected", 0, None) for n in range(49)),
    ]
    assert audit(engine, settings).ok


def test_a_drain_ends_at_its_limit_and_reports_that_more_is_queued(
    engine: Engine, settings: Settings
) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    bounded = settings.model_copy(update={"drain_batch_rows": 2, "drain_max_batches": 3})
    queue(engine, [request(user, ticket_type) for _ in range(10)])
    drained = drain(engine, [event], bounded, ignore)
    assert (drained.decided, drained.more) == (6, [event])
    assert not drain(engine, [event], bounded, ignore).more


def test_several_events_are_decided_in_one_transaction_each_in_its_own_order(
    engine: Engine, settings: Settings
) -> None:
    """With numbers and a record of its own, as if it had been alone."""
    users = add_users(engine, 6)
    first, second, third = (add_ticket_type(engine, capacity) for capacity in (2, 3, 0))
    events = [event_of(engine, id_) for id_ in (first, second, third)]
    ids = queue(
        engine,
        [
            request(user, ticket_type)
            for user, ticket_type in zip(
                users, (first, second, first, second, first, second), strict=True
            )
        ],
    )
    drained = drain(engine, events, settings, ignore)
    assert drained == Drained(6, 1, emptied=events, more=[])
    assert outcomes(engine, first) == [
        (ids[0], "confirmed", None),
        (ids[2], "confirmed", None),
        (ids[4], "rejected", NOT_ENOUGH_TICKETS),
    ]
    assert outcomes(engine, second) == [(id_, "confirmed", None) for id_ in ids[1::2]]
    assert (counter(engine, first), counter(engine, second)) == ((2, 2), (3, 3))
    # The first entry of each issued its tickets.
    numbers = "SELECT number FROM ledger WHERE kind <> 'issued' ORDER BY event_id, number"
    assert [row[0] for row in rows(engine, numbers)] == [2, 3, 4, 2, 3, 4]
    batches = "SELECT event_id, first_number, last_number FROM batches WHERE first_number > 1"
    assert sorted(rows(engine, batches)) == [(events[0], 2, 4), (events[1], 2, 4)]
    assert audit(engine, settings).ok


def test_of_many_queues_each_has_its_part_of_a_batch(engine: Engine, settings: Settings) -> None:
    """So that however deep one of them is, a transaction stays short, and takes from all."""
    long, short = add_ticket_type(engine, 100), add_ticket_type(engine, 100)
    by_fours = settings.model_copy(update={"drain_batch_rows": 4})
    for ticket_type, queued in ((long, 7), (short, 2)):
        queue(engine, [request(user, ticket_type) for user in add_users(engine, queued)])
    published: list[Batch] = []
    deep, shallow = event_of(engine, long), event_of(engine, short)
    assert drain(engine, [deep, shallow], by_fours, published.append).decided == 9
    assert [
        {part.lane.event_id: len(part.entries) for part in batch.parts} for batch in published
    ] == [{deep: 2, shallow: 2}, {deep: 4}, {deep: 1}]


def test_a_queue_that_was_emptied_is_read_again_while_another_is_long(
    engine: Engine, settings: Settings
) -> None:
    """Its wake-up counts as under way until the drain ends, so no other worker comes."""
    long, short = add_ticket_type(engine, 100), add_ticket_type(engine, 100)
    users = add_users(engine, 6)
    by_twos = settings.model_copy(update={"drain_batch_rows": 2})
    queue(engine, [request(user, long) for user in users])
    queue(engine, [request(users[0], short)])
    deep, shallow = event_of(engine, long), event_of(engine, short)
    published: list[set[int]] = []

    def buy_once_more(batch: Batch) -> None:
        published.append({part.lane.event_id for part in batch.parts})
        if len(published) == 2:
            queue(engine, [request(users[1], short)])

    assert drain(engine, [deep, shallow], by_twos, buy_once_more).decided == 8
    assert published == [{deep, shallow}, {deep}, {deep}, {deep, shallow}]


def test_what_a_wakeup_names_is_locked_without_a_look_before(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is empty all the same is only found to be empty."""
    queued, empty = add_ticket_type(engine, 5), add_ticket_type(engine, 5)
    events = [event_of(engine, queued), event_of(engine, empty)]
    monkeypatch.setattr(store, "queued_among", lambda *_: pytest.fail("looked at before"))
    assert drain(engine, events, settings, ignore, woken=True) == Drained(0, 1, events, [])
    queue(engine, [request(user, queued) for user in add_users(engine, 2)])
    assert drain(engine, events, settings, ignore, woken=True) == Drained(2, 1, events, [])
    assert counter(engine, queued) == (5, 2)
    assert audit(engine, settings).ok


def test_a_sold_out_event_among_others_is_decided_with_them(
    engine: Engine, settings: Settings
) -> None:
    sold_out, on_sale = add_ticket_type(engine, 1), add_ticket_type(engine, 5)
    users = add_users(engine, 3)
    queue(engine, [request(users[0], sold_out), request(users[1], sold_out)])
    issue(engine, sold_out, -1)
    queue(engine, [request(users[2], on_sale)])
    events = [event_of(engine, sold_out), event_of(engine, on_sale)]
    assert drain(engine, events, settings, ignore).batches == 1
    reasons = [outcome[1:] for outcome in outcomes(engine, sold_out)]
    assert reasons == [("rejected", NOT_ENOUGH_TICKETS)] * 2
    assert counter(engine, on_sale) == (5, 1)
    assert audit(engine, settings).ok


@pytest.mark.parametrize("same_event", [True, False])
def test_what_a_user_has_of_one_ticket_type_counts_for_no_other(
    engine: Engine, settings: Settings, same_event: bool
) -> None:
    one = add_ticket_type(engine, 9, max_per_user=2)
    event = event_of(engine, one) if same_event else add_event(engine)
    other = add_ticket_type(engine, 9, max_per_user=2, event_id=event)
    events = list({event_of(engine, one), event})
    first, second = add_users(engine, 2)
    queue(engine, [request(first, one, 2), request(second, other)])
    drain(engine, events, settings, ignore)
    queue(engine, [request(user, type_, 1) for type_ in (one, other) for user in (first, second)])
    queue(engine, [request(second, other)])
    assert drain(engine, events, settings, ignore).batches == 1
    assert [o[2] for o in outcomes(engine, one)[1:]] == [OVER_USER_LIMIT, None]
    assert [o[2] for o in outcomes(engine, other)[1:]] == [None, None, OVER_USER_LIMIT]
    assert audit(engine, settings).ok


def test_the_limit_of_an_event_counts_tickets_of_all_its_types_carts_and_earlier_batches(
    engine: Engine, settings: Settings
) -> None:
    adult = add_ticket_type(engine, 50)
    event = event_of(engine, adult)
    child = add_ticket_type(engine, 50, event_id=event)
    elsewhere = add_ticket_type(engine, 50)
    run(engine, "UPDATE events SET max_per_user = 4 WHERE id = :id", id=event)
    first, second = add_users(engine, 2)
    before = [cart(first, [(adult, 1), (child, 2)]), request(first, elsewhere, 9)]
    before += [request(second, child, 3)]
    queue(engine, before)
    # Terms are frozen at acceptance.
    run(engine, "UPDATE events SET max_per_user = 99 WHERE id = :id", id=event)
    drain(engine, [event, event_of(engine, elsewhere)], settings, ignore)
    run(engine, "UPDATE events SET max_per_user = 4 WHERE id = :id", id=event)
    after = [
        cart(first, [(adult, 1), (child, 1)]),
        request(first, adult),
        request(first, child),
        cart(second, [(child, 1), (adult, 1)]),
        request(second, adult),
    ]
    ids = queue(engine, after)
    run(engine, "UPDATE events SET max_per_user = NULL WHERE id = :id", id=event)
    drain(engine, [event], settings, ignore)
    assert reasons_of(engine, ids) == [OVER_USER_LIMIT, None, *[OVER_USER_LIMIT] * 2, None]
    assert (counter(engine, adult), counter(engine, child)) == ((50, 3), (50, 5))
    assert audit(engine, settings).ok


def test_the_limit_of_a_type_counts_what_a_user_has_of_it_in_carts(
    engine: Engine, settings: Settings
) -> None:
    adult = add_ticket_type(engine, 50, max_per_user=2)
    event = event_of(engine, adult)
    child = add_ticket_type(engine, 50, event_id=event)
    (user,) = add_users(engine, 1)
    earlier = queue(engine, [cart(user, [(child, 3), (adult, 1)])])
    drain(engine, [event], settings, ignore)
    ids = queue(
        engine,
        [
            request(user, adult, 2),
            cart(user, [(child, 1), (adult, 2)]),
            cart(user, [(adult, 1), (child, 1)]),
            request(user, adult),
        ],
    )
    drain(engine, [event], settings, ignore)
    limited = [OVER_USER_LIMIT] * 2
    assert reasons_of(engine, earlier + ids) == [None, *limited, None, OVER_USER_LIMIT]
    assert (counter(engine, adult), counter(engine, child)) == ((50, 2), (50, 4))
    assert audit(engine, settings).ok


def reasons_of(engine: Engine, ids: list[str]) -> list[str | None]:
    """Why each of these purchases was rejected; None: it is confirmed."""
    found = rows(engine, "SELECT command_id::text, kind::text, reason::text FROM ledger")
    entries = {id_: (kind, reason) for id_, kind, reason in found}
    assert all((entries[id_][0] == "confirmed") == (entries[id_][1] is None) for id_ in ids)
    return [entries[id_][1] for id_ in ids]


def test_a_cart_is_sold_whole_or_not_at_all(engine: Engine, settings: Settings) -> None:
    """And what it did not get is there for the next one."""
    adult = add_ticket_type(engine, 3)
    event = event_of(engine, adult)
    child = add_ticket_type(engine, 1, event_id=event)
    users = add_users(engine, 5)
    wanted = [
        [(adult, 1), (child, 1)],
        [(adult, 1), (child, 1)],
        [(child, 1), (adult, 1)],
        [(adult, 2)],
        [(adult, 1)],
    ]
    carts = [cart(user, lines) for user, lines in zip(users, wanted, strict=True)]
    ids = queue(engine, carts)
    assert drain(engine, [event], settings, ignore) == Drained(5, 1, emptied=[event], more=[])
    nothing_left = NOT_ENOUGH_TICKETS
    assert reasons_of(engine, ids) == [None, nothing_left, nothing_left, None, nothing_left]
    assert (counter(engine, adult), counter(engine, child)) == ((3, 3), (1, 1))
    changes = rows(
        engine,
        "SELECT change, left_after, items FROM ledger WHERE kind <> 'issued' ORDER BY number",
    )

    def lines(*of_each: tuple[int, int, int]) -> list[dict[str, int]]:
        names = "ticket_type", "change", "left_after"
        return [dict(zip(names, line, strict=True)) for line in of_each]

    assert changes == [
        (None, None, lines((adult, -1, 2), (child, -1, 0))),
        (None, None, lines((adult, 0, 2), (child, 0, 0))),
        (None, None, lines((child, 0, 0), (adult, 0, 2))),
        (-2, 0, None),
        (0, 0, None),
    ]
    assert audit(engine, settings).ok


def test_an_event_that_another_has_locked_is_skipped_and_the_others_are_decided(
    engine: Engine, settings: Settings
) -> None:
    theirs, ours = add_ticket_type(engine, 9), add_ticket_type(engine, 9)
    user = add_user(engine)
    queue(engine, [request(user, theirs), request(user, ours)])
    locked, free = event_of(engine, theirs), event_of(engine, ours)
    with engine.connect() as other:
        other.exec_driver_sql(f"SELECT FROM lanes WHERE event_id = {locked} FOR NO KEY UPDATE")
        drained = drain(engine, [locked, free], settings, ignore)
        assert (drained.decided, drained.emptied, drained.more) == (1, [free], [])
        assert counter(engine, ours) == (9, 1)
        other.rollback()
    assert drain(engine, [locked, free], settings, ignore).decided == 1


@pytest.mark.parametrize("free_at", [1, 2, len(RETRY_SKIPPED_SECONDS), None])
def test_a_skipped_event_is_tried_a_few_times_more(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, free_at: int | None
) -> None:
    """An owner who changes the capacity again and again holds the lock, and decides nothing."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type)])
    slept: list[float] = []
    with engine.connect() as owner:
        owner.exec_driver_sql("SELECT * FROM lanes FOR NO KEY UPDATE")

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == free_at:
                owner.rollback()

        monkeypatch.setattr(time, "sleep", sleep)
        decided = drain(engine, [event], settings, ignore).decided
    assert decided == (0 if free_at is None else 1)
    assert slept == list(RETRY_SKIPPED_SECONDS[:free_at])


def test_a_decision_in_between_resets_the_number_of_tries(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next change of the same owner costs no decision more than the first one did."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    rounds = 3
    slept: list[float] = []
    with engine.connect() as owner:

        def lock_and_queue(_batch: Batch | None = None) -> None:
            queue(engine, [request(user, ticket_type)])
            owner.exec_driver_sql("SELECT * FROM lanes FOR NO KEY UPDATE")

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
        drained = drain(engine, [event], patient, publish, read_again)
    assert (drained.decided, drained.emptied) == (rounds, [event])
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
    drain(engine, [event_of(engine, ticket_type)], settings, ResultPublisher(settings))
    owner, body = result_of(redis_client, id_)
    assert owner == user
    purchase = msgspec.json.decode(body, type=Purchase)
    # At the price of its acceptance.
    assert (purchase.status, purchase.total_price) == ("confirmed", "30.00")
    assert 0 < redis_client.ttl(RESULT_KEY_PREFIX + id_) <= settings.result_ttl_seconds


@pytest.mark.parametrize("price", ["0", "0.10", "25", "9999999999.99"])
def test_a_result_is_byte_for_byte_what_the_gateway_makes_of_the_rows(
    engine: Engine, settings: Settings, redis_client: redis.Redis, price: str
) -> None:
    """Of confirmed ones, of both reasons to reject, and of those closed in bulk; carts among them.

    Whole seconds and whole milliseconds are written out as any other time is.
    """
    ticket_type = add_ticket_type(engine, 3, price=Decimal(price), max_per_user=2)
    event = event_of(engine, ticket_type)
    child = add_ticket_type(engine, 1, event_id=event)
    first, second, third = add_users(engine, 3)
    wanted = [
        (first, [(ticket_type, 1)]),
        (first, [(ticket_type, 2)]),
        (second, [(ticket_type, 3)]),
        (second, [(child, 2), (ticket_type, 1)]),
        (second, [(child, 1), (ticket_type, 2)]),
        (third, [(ticket_type, 1)]),
        (third, [(ticket_type, 1), (child, 1)]),
    ]
    ids = queue(engine, [cart(user, lines) for user, lines in wanted])
    tamper(
        engine,
        "UPDATE requests SET created_at = date_trunc(CASE mod(seq, 3) WHEN 0 THEN 'second'"
        " WHEN 1 THEN 'milliseconds' ELSE 'microseconds' END, created_at)",
    )
    small = settings.model_copy(update={"drain_batch_rows": 5})
    drain(engine, [event], small, ResultPublisher(settings))
    found = read(engine, ids, position_max_rows=1)
    assert [found[id_].purchase.reason for id_ in ids] == [
        None,
        OVER_USER_LIMIT,
        NOT_ENOUGH_TICKETS,
        NOT_ENOUGH_TICKETS,
        None,
        NOT_ENOUGH_TICKETS,
        NOT_ENOUGH_TICKETS,
    ]
    assert [len(found[id_].purchase.short or ()) for id_ in ids] == [0, 0, 1, 1, 0, 1, 2]
    for id_ in ids:
        expected = found[id_].user_id, msgspec.json.encode(found[id_].purchase)
        assert result_of(redis_client, id_) == expected


def test_the_message_of_a_small_batch_has_its_results_but_of_held_purchases(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    buyer, ticket_type = add_user(engine), add_ticket_type(engine, 1)
    wanted = [request(buyer, ticket_type), request(buyer, ticket_type)]
    confirmed, rejected = queue(engine, wanted)
    with_holds = add_ticket_type(engine, 1)
    held = queue_buy(engine, [(with_holds, 1)], hold_seconds=600)

    messages: list[DecidedBatch] = []

    def publish(batch: Batch) -> None:
        *_, (_, _, message) = commands(batch, ttl_seconds=60)
        messages.append(msgspec.msgpack.decode(message, type=DecidedBatch))
        ResultPublisher(settings)(batch)

    drain(engine, [event_of(engine, one) for one in (ticket_type, with_holds)], settings, publish)
    told = {id_: result for message in messages for id_, result in message.results.items()}
    assert sorted(told) == sorted([confirmed, rejected])
    assert [id_ for message in messages for id_ in message.ids if id_ not in told] == [held]
    for id_, packed in told.items():
        assert unpack_result(packed) == result_of(redis_client, id_)

    # Of another one the reason is shorter.
    fitting = RESULTS_IN_MESSAGE_BYTES // len(told[confirmed])
    for wanted_results in (fitting, fitting + 1):
        many = add_ticket_type(engine, wanted_results)
        queue(engine, [request(buyer, many) for _ in range(wanted_results)])
        messages.clear()
        drain(engine, [event_of(engine, many)], settings, publish)
        (message,) = messages
        assert len(message.ids) == wanted_results
        assert len(message.results) == (fitting if wanted_results == fitting else 0)


def test_without_redis_the_decisions_stand(engine: Engine, settings: Settings) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 1)
    queue(engine, [request(user, ticket_type)])
    publisher = ResultPublisher(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    assert drain(engine, [event_of(engine, ticket_type)], settings, publisher).decided == 1
    assert publisher.breaker.failures == 1
